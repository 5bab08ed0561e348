// Session: the timeline, without computing.  Computing is in run.cc.
#include "lib/session/session.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace v4i::session {

namespace {

// Room for this many more tokens is made at once, so that decode steps hardly ever
// allocate.
constexpr std::int64_t kRoom = 1024;

SessionOptions checked(SessionOptions options, const Context& context) {
  if (options.context_size < 0 || options.context_size > context.context_max())
    fail(Code::kInvalid, "context_size is {}, allowed is 1 to {} (0 = the most)",
         options.context_size, context.context_max());
  if (options.replay && context.model().plan().outputs_from == 0)
    fail(Code::kUnsupported,
         "{}: prompts cannot be replayed; that needs a model whose late layers read the rows of an "
         "earlier one, such as DeepSeek-V4.1",
         context.model().path());
  if (options.context_size == 0) options.context_size = context.context_max();
  return options;
}

}  // namespace

Session::Session(std::shared_ptr<Context> context, const SessionOptions& options)
    : Session(context, options, context->cache_of(options.tiers)) {}

Session::Session(std::shared_ptr<Context> context, const SessionOptions& options,
                 std::shared_ptr<store::BlockCache> cache)
    : Session(context, options, cache, kv::State(context->layout(), *cache, context->identity())) {}

Session::Session(std::shared_ptr<Context> context, const SessionOptions& options,
                 std::shared_ptr<store::BlockCache> cache, kv::State state)
    : context_(std::move(context)),
      cache_(std::move(cache)),
      options_(checked(options, *context_)),
      state_(std::move(state)),
      sampler_(std::make_shared<const sampling::Sampler>()),
      logits_(context_->engine().budget(), static_cast<std::size_t>(context_->vocab()),
              Use::kScratch, "the logits of a session") {
  reserve(1);
}

void Session::check_tokens(std::span<const std::int32_t> tokens) const {
  for (const std::int32_t t : tokens)
    if (t < 0 || t >= vocab())
      fail(Code::kInvalid, "token id is {}, the model's vocabulary is 0 to {}", t, vocab() - 1);
}

void Session::reserve(std::int64_t tokens) {
  const auto wanted = static_cast<std::size_t>(tokens);
  if (wanted <= tokens_.capacity()) return;
  tokens_.reserve(std::max(wanted + kRoom, tokens_.capacity() * 2));
}

void Session::check_room(std::int64_t tokens) const {
  if (tokens > options_.context_size - size())
    fail(Code::kContextFull, "{} tokens do not fit: {} of the context of {} are in use", tokens,
         size(), options_.context_size);
}

void Session::append(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return;
  check_tokens(tokens);
  check_no_placeholder(tokens, 0);
  check_room(static_cast<std::int64_t>(tokens.size()));
  reserve(size() + static_cast<std::int64_t>(tokens.size()));
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  appended();
}

void Session::appended() {
  finish_ = Finish::kNone;
  text_from_ = size();
  restart_text();
  awaiting_first_ = true;
  turn_start_.reset();
}

void Session::append_text(std::string_view text, bool add_bos, bool parse_special) {
  std::vector<std::int32_t> ids;
  if (add_bos) ids.push_back(context_->model().config().bos);
  context_->tokenizer().encode(text, parse_special, ids);
  append(ids);
}

void Session::check_context(std::size_t tokens) const {
  if (static_cast<std::int64_t>(tokens) > options_.context_size)
    fail(Code::kContextFull, "{} tokens do not fit a context of {}", tokens, options_.context_size);
}

std::size_t Session::sync(std::span<const std::int32_t> tokens) {
  check_tokens(tokens);
  check_context(tokens.size());
  const auto differ = std::mismatch(tokens.begin(), tokens.end(), tokens_.begin(), tokens_.end());
  const std::int64_t same = differ.first - tokens.begin();
  if (differ.first == tokens.end()) {
    rewind(same);
  } else {
    check_no_placeholder(tokens.subspan(static_cast<std::size_t>(same)), same);
    reserve(static_cast<std::int64_t>(tokens.size()));
    cut(same, same);  // the tokens behind it stay pending, so it need not
    append(tokens.subspan(static_cast<std::size_t>(same)));
  }
  reused_ = static_cast<std::uint64_t>(position());
  return static_cast<std::size_t>(position());
}

void Session::rewind(std::int64_t position) {
  if (position < 0 || position > size())
    fail(Code::kInvalid, "cannot rewind to {}: the session has {} tokens", position, size());
  if (position == size()) return;
  // Going on needs the logits of the last kept token.  When they are gone it has to
  // be computed again, so the KV state must end before it.
  const bool has_last = position == this->position() && has_logits();
  cut(position, has_last ? position : std::max<std::int64_t>(position - 1, 0));
}

void Session::cut(std::int64_t tokens, std::int64_t computed) {
  // Late layers have no window there: it is computed again.
  if (options_.replay && computed < std::min(position(), state_.late_start()))
    computed = std::max<std::int64_t>(0, computed - window());
  if (position() > computed) state_.rewind(state_.rewind_target(computed));
  if (draft_ != nullptr) draft_->cut(position());
  if (tokens == size()) return;
  tokens_.resize(static_cast<std::size_t>(tokens));
  cut_images(tokens);
  finish_ = Finish::kNone;
  text_from_ = std::min(text_from_, tokens);
  restart_text();
  awaiting_first_ = true;
  turn_start_.reset();
}

// What a stream holds back follows from the tokens it has seen.
void Session::restart_text() {
  stream_ = {};
  if (!context_->has_tokenizer()) return;
  const auto& tokenizer = context_->tokenizer();
  std::string ignored;
  for (std::int64_t i = text_from_; i < size(); ++i) {
    const std::int32_t t = tokens_[static_cast<std::size_t>(i)];
    if (t < tokenizer.size()) stream_.push(tokenizer.token_bytes(t), ignored);
  }
}

std::unique_ptr<Session> Session::fork() const {
  std::unique_ptr<Session> copy(new Session(context_, options_, cache_, state_.fork()));
  copy->reserve(size());
  copy->tokens_.assign(tokens_.begin(), tokens_.end());
  copy->images_ = images_;
  copy->sampler_ = sampler_;
  std::copy(logits_.data(), logits_.data() + logits_.size(), copy->logits_.data());
  copy->logits_at_ = logits_at_;
  copy->finish_ = finish_;
  copy->text_from_ = text_from_;
  copy->stream_ = stream_;
  return copy;
}

void Session::set_sampler(std::shared_ptr<const sampling::Sampler> sampler) {
  sampler_ = sampler != nullptr ? std::move(sampler) : std::make_shared<const sampling::Sampler>();
}

std::span<const float> Session::logits() const {
  if (!has_logits())
    fail(Code::kState, "there are no logits: none were computed for the last of {} tokens", size());
  return {logits_.data(), logits_.size()};
}

}  // namespace v4i::session
