// Session: prefill, step, eval.  Every run of the forward pass but those of
// step_many (scheduler.cc) starts here.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/session/looking.h"
#include "lib/session/session.h"

namespace v4i::session {

// Times that rows were lost in one call.  A store that loses what it has just confirmed could go
// on for ever; so after two losses the blocks of the call's sessions leave memory after all others,
// until it is over, and where they do not fit there is an end.
class Session::Losses {
 public:
  Losses() = default;
  ~Losses() {
    for (kv::State* s : kept_) s->keep_blocks(-1);
  }
  Losses(const Losses&) = delete;
  Losses& operator=(const Losses&) = delete;
  template <class States>
  void add(const States& states) {
    constexpr int kMost = 100;
    if (++count_ > kMost)
      fail(Code::kIo, "the KV stores of this session have lost rows {} times in one call", kMost);
    if (count_ < 2) return;
    for (kv::State* s : states) {
      if (std::find(kept_.begin(), kept_.end(), s) != kept_.end()) continue;
      s->keep_blocks(1);
      kept_.push_back(s);
    }
  }
  // Of a session of `length` tokens.
  void replayed(std::int64_t tokens, std::int64_t length) {
    constexpr std::int64_t kTimes = 3, kAnyway = 8192;
    replayed_ += tokens;
    if (replayed_ <= kTimes * length + kAnyway) return;
    fail(Code::kIo,
         "the KV stores of this session lose rows faster than they are computed: {} tokens were "
         "computed again in one call, for a session of {}; it needs more memory or a larger store",
         replayed_, length);
  }

 private:
  std::vector<kv::State*> kept_;
  int count_ = 0;
  std::int64_t replayed_ = 0;
};

int Session::chunk_size(const RunOptions& options) const {
  if (options.chunk_tokens < 0)
    fail(Code::kInvalid, "chunk_tokens is {}, allowed is 0 (the library decides) or more",
         options.chunk_tokens);
  const int most = context_->forward().options().max_tokens;
  return options.chunk_tokens == 0 ? most : std::min(most, options.chunk_tokens);
}

forward::Item Session::item(std::int64_t n, float* logits, bool all_logits) {
  forward::Item it;
  it.state = &state_;
  it.tokens = std::span<const std::int32_t>(tokens_).subspan(static_cast<std::size_t>(position()),
                                                             static_cast<std::size_t>(n));
  it.logits = logits;
  it.all_logits = all_logits;
  place_images(&it);
  return it;
}

forward::Item Session::rows_item(std::int64_t n) {
  forward::Item it = item(n, nullptr, false);
  it.rows_only = true;
  return it;
}

Lookups Session::looked_up() const {
  const store::RowCounts rows = cache_->row_counts();
  const experts::Stats experts = context_->experts().stats();
  Lookups out;
  out.kv_rows = rows.hits + rows.misses;
  out.kv_row_loads = rows.misses;
  out.kv_wait_ns = rows.wait_ns;
  out.expert_uses = experts.hits + experts.late + experts.misses;
  out.expert_loads = experts.late + experts.misses;
  out.expert_load_bytes = experts.bytes_read;
  if (context_->engram() == nullptr) return out;
  const engram::Stats engram = context_->engram()->stats();
  const forward::EngramGates gates = context_->forward().engram_gates();
  out.engram_rows = engram.lookups;
  out.engram_hits = engram.hits;
  out.engram_bytes = engram.bytes_read;
  out.engram_gate_count = gates.count;
  out.engram_gate_sum = gates.sum;
  return out;
}

void Session::run(std::span<Session* const> sessions, std::span<const forward::Item> items,
                  const CancelFlag* cancel, forward::Profile* profile) {
  Context& context = sessions[0]->context();
  Losses losses;
  std::vector<kv::State*> states;
  for (;;) {
    try {
      const Turn turn(context.engine().compute_lock(), cancel);
      const Looking looking(sessions);
      return context.forward().run(items, cancel, profile);
    } catch (const kv::LostRows&) {
      if (states.empty())
        for (Session* s : sessions) states.push_back(&s->state_);
      losses.add(states);
    }
    for (Session* s : sessions) s->replay(cancel, losses);
  }
}

void Session::replay(const CancelFlag* cancel, Losses& losses) {
  const std::int64_t end = position(), late = state_.late_start();
  const auto go_back = [&] {
    const std::int64_t usable = state_.usable_length();
    if (usable < position()) state_.rewind(state_.rewind_target(usable));
  };
  for (go_back(); position() < end;) {
    const std::int64_t most = context_->forward().options().max_tokens;
    const bool rows_only = position() < late;  // as it was
    const std::int64_t to = rows_only ? late : end;
    const std::int64_t n = state_.chunk_length(std::min(most, to - position()), kv::State::kNoEnd);
    encode_images(n, cancel);
    const forward::Item it = rows_only ? rows_item(n) : item(n, nullptr, false);
    try {
      const Turn turn(context_->engine().compute_lock(), cancel);
      Session* const self = this;
      const Looking looking({&self, 1});
      context_->forward().run({&it, 1}, cancel);
      metrics_.replayed_tokens += static_cast<std::uint64_t>(n);
      losses.replayed(n, end);
    } catch (const kv::LostRows&) {
      losses.add(std::array{&state_});
      go_back();
    }
  }
}

void Session::make_whole() {
  if (!cache_->has_store()) return;
  kv::State* const state = &state_;
  Losses losses;
  const auto layers = static_cast<int>(state_.layout().layers.size());
  for (int l = 0; l < layers;) {
    try {
      const kv::Lease lease({&state, 1}, l, nullptr);
      ++l;
    } catch (const kv::LostRows&) {
      losses.add(std::array{&state_});
      replay(nullptr, losses);
      l = 0;
    }
  }
}

void Session::take_up(const CancelFlag* cancel) {
  if (position() > 0 || pending() <= kv::State::kSnapshotStep) return;
  const std::int64_t behind = options_.replay ? window() : 1;  // computed in any case
  const std::int64_t most = std::max<std::int64_t>(0, size() - behind);
  const std::int64_t n = state_.take_up(std::span(tokens_).first(static_cast<std::size_t>(most)),
                                        cancel, media_before(most), !options_.replay);
  metrics_.taken_up_tokens += static_cast<std::uint64_t>(n);
  reused_ += static_cast<std::uint64_t>(n);
}

void Session::computed(std::int64_t tokens, bool logits, bool decode, Clock::time_point start) {
  logits_at_ = logits ? position() : -1;
  const auto ns = static_cast<std::uint64_t>((Clock::now() - start).count());
  (decode ? metrics_.decode_tokens : metrics_.prefill_tokens) += static_cast<std::uint64_t>(tokens);
  (decode ? metrics_.decode_ns : metrics_.prefill_ns) += ns;
}

void Session::compute(std::int64_t n, float* logits, bool all_logits, bool decode,
                      const RunOptions& options) {
  const auto start = Clock::now();
  encode_images(n, options.cancel);
  forward::Item it = item(n, logits, all_logits);
  const bool drafts = draft_ != nullptr && options.max_tokens > 1;
  const std::int64_t seen = drafts ? draft_->wants(n, pending() - n) : 0;
  if (seen > 0) show_draft(position() + n - seen, seen, &it, options.cancel);
  Session* const self = this;
  run({&self, 1}, {&it, 1}, options.cancel, options_.profile ? &profile_ : nullptr);
  if (seen > 0) draft_->computed(seen);
  computed(n, logits == logits_.data(), decode, start);
}

void Session::compute_rows(std::int64_t most, const RunOptions& options) {
  const auto start = Clock::now();
  const std::int64_t chunk = std::min(most, rows_ahead());
  const std::int64_t n = state_.chunk_length(chunk, rows_ahead() - chunk);
  encode_images(n, options.cancel);
  const forward::Item it = rows_item(n);
  Session* const self = this;
  run({&self, 1}, {&it, 1}, options.cancel, options_.profile ? &profile_ : nullptr);
  computed(n, false, false, start);
}

void Session::compute_pending(bool decode, const RunOptions& options) {
  const std::int64_t chunk = chunk_size(options);
  make_draft(options.max_tokens);
  take_up(options.cancel);
  const std::int64_t total = pending();
  while (pending() > 0) {
    if (rows_ahead() > 0) {
      compute_rows(chunk, options);
    } else {
      const std::int64_t most = std::min(chunk, pending());
      // What comes after a replayed prompt is of no use to others.
      const std::int64_t left = options_.replay ? kv::State::kNoEnd : pending() - most;
      const std::int64_t n = state_.chunk_length(most, left);
      // The head is the widest matrix: only the last chunk needs it.
      compute(n, n == pending() ? logits_.data() : nullptr, false, decode, options);
    }
    if (decode || !options.progress) continue;
    const auto done = static_cast<std::uint64_t>(total - pending());
    if (options.progress(done, static_cast<std::uint64_t>(total)))
      fail(Code::kCancelled, "cancelled by the progress callback after {} of {} tokens", done,
           total);
  }
}

void Session::open_turn() {
  if (awaiting_first_ && !turn_start_) turn_start_ = Clock::now();
}

void Session::prefill(const RunOptions& options) {
  open_turn();
  compute_pending(false, options);
}

void Session::check_can_step() const {
  if (finish_ == Finish::kEos)
    fail(Code::kState, "the text has ended with the end-of-sequence token: append tokens first");
  if (tokens_.empty()) fail(Code::kState, "there is nothing to continue: append tokens first");
  if (size() >= options_.context_size)
    fail(Code::kContextFull, "the context of {} tokens is full", options_.context_size);
}

Step Session::step(const RunOptions& options) { return step_some(options, options.max_tokens, {}); }

Step Session::step_some(const RunOptions& options, std::int64_t most, const OnToken& on_token) {
  check_can_step();
  open_turn();
  const bool decode = pending() == 1;
  if (decode && make_draft(most)) return step_drafted(options, most, on_token);
  compute_pending(decode, options);
  const auto start = Clock::now();
  const Step s = sample_next();
  if (decode) metrics_.decode_ns += static_cast<std::uint64_t>((Clock::now() - start).count());
  if (on_token) on_token(s);
  return s;
}

Step Session::sample_next() {
  V4I_CHECK(pending() == 0);
  return draw(logits());
}

// Everything that can fail comes before the first change.
Step Session::draw(std::span<const float> logits) {
  const auto choice = sampler_->sample(logits, tokens_, options_.seed,
                                       static_cast<std::uint64_t>(size()), &scratch_);
  const bool eos = choice.token == context_->model().config().eos;
  std::string_view bytes;
  if (!eos && context_->has_tokenizer() && choice.token < context_->tokenizer().size())
    bytes = context_->tokenizer().token_bytes(choice.token);
  text_.clear();
  text_.reserve(3 * (bytes.size() + 4));  // a replacement character per byte at most
  reserve(size() + 1);

  tokens_.push_back(choice.token);
  if (eos)
    stream_.flush(text_);
  else
    stream_.push(bytes, text_);
  finish_ = eos ? Finish::kEos : Finish::kNone;
  if (awaiting_first_) {
    awaiting_first_ = false;
    if (turn_start_)
      metrics_.first_token_ns = static_cast<std::uint64_t>((Clock::now() - *turn_start_).count());
  }
  return {finish_, choice.token, text_, choice.logprob, std::span(tokens_).last(1)};
}

void Session::eval(std::span<const std::int32_t> tokens, float* logits, const RunOptions& options) {
  if (tokens.empty()) return;
  if (logits == nullptr) fail(Code::kInvalid, "eval needs room for the logits");
  compute_pending(false, options);
  const std::int64_t before = size();
  append(tokens);
  eval_appended(before, logits, options);
}

void Session::eval_media(const Prompt& prompt, float* logits, const RunOptions& options) {
  if (prompt.tokens.empty()) return;
  if (logits == nullptr) fail(Code::kInvalid, "eval needs room for the logits");
  compute_pending(false, options);
  const std::int64_t before = size();
  append_media(prompt);
  eval_appended(before, logits, options);
}

void Session::eval_appended(std::int64_t before, float* logits, const RunOptions& options) {
  const std::int64_t chunk = chunk_size(options), total = pending();
  const auto width = static_cast<std::size_t>(vocab());
  open_turn();
  float* out = logits;
  try {
    while (pending() > 0) {
      const std::int64_t n = std::min(chunk, pending());
      compute(n, out, true, false, options);
      out += static_cast<std::size_t>(n) * width;
      const auto done = static_cast<std::uint64_t>(total - pending());
      if (options.progress && options.progress(done, static_cast<std::uint64_t>(total)))
        fail(Code::kCancelled, "cancelled by the progress callback after {} of {} tokens", done,
             total);
    }
  } catch (...) {
    rewind(before);
    throw;
  }
  std::memcpy(logits_.data(), out - width, width * sizeof(float));
  logits_at_ = position();
}

}  // namespace v4i::session
