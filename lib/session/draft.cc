// Feeds the MTP block or DSpark's stages, and asks them; see draft.h.
#include "lib/session/draft.h"

#include <algorithm>
#include <cmath>

#include "lib/base/hash.h"

namespace v4i::session {

namespace {

constexpr std::int64_t kMtpTokens = 2;  // of a run: the pending one and a guess

// Its state must not be taken for one of the model's own.
Digest draft_identity(const Context& context) {
  Sha256 h;
  h.update(context.identity().data(), context.identity().size());
  h.update("draft", 5);
  return h.finish();
}

Buffer<float> floats(Context& context, std::size_t n) {
  return {context.engine().budget(), n, Use::kScratch, "the drafts of a session"};
}

// Streams, or taps.
std::size_t seen_floats(const model::Config& c, bool dspark) {
  return static_cast<std::size_t>(c.width) *
         (dspark ? c.dspark_target_layers.size() : static_cast<std::size_t>(c.hc_mult));
}

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

std::int64_t Draft::most(Context& context) {
  const model::Config& c = context.model().config();
  forward::Forward& f = context.forward();
  const std::int64_t batch = f.options().max_tokens;
  if (f.has_dspark())
    return batch < c.dspark_block_size
               ? 1
               : std::min({c.dspark_block_size + 1, static_cast<std::int64_t>(kMost), batch});
  return context.model().weights().mtp.empty() ? 1 : std::min(kMtpTokens, batch);
}

Draft::Draft(Context& context)
    : context_(context),
      dspark_(context.forward().has_dspark()),
      vocab_(static_cast<std::size_t>(context.vocab())),
      width_(seen_floats(context.model().config(), dspark_)),
      capacity_(dspark_ ? std::max(context.model().config().window, kFed) : kMtpTokens),
      state_(std::make_shared<const kv::Layout>(context.forward().draft_layout()), context.cache(),
             draft_identity(context)),
      seen_(floats(context, static_cast<std::size_t>(capacity_) * width_)),
      logits_(floats(context, static_cast<std::size_t>(most(context)) * vocab_)),
      guesses_(floats(context, dspark_ ? 0 : static_cast<std::size_t>(kMtpTokens) * vocab_)) {}

std::int64_t Draft::wants(std::int64_t n, std::int64_t left) const {
  if (!dspark_) return 0;
  return std::clamp<std::int64_t>(context_.model().config().window - left, 0, n);
}

void Draft::ask(std::int64_t first, std::int64_t n, forward::Item* item) {
  if (first != end_ || rows_ + n > capacity_) {
    rows_ = 0;
    gap_ = true;
  }
  end_ = first;
  if (dspark_) {
    item->taps = row(rows_);
    item->tap_tokens = n;
  } else {
    item->hidden = row(rows_);
  }
}

void Draft::computed(std::int64_t n) {
  rows_ += n;
  end_ += n;
}

void Draft::cut(std::int64_t position) {
  if (position >= end_) return;
  std::int64_t drop = end_ - position;
  end_ = position;
  const std::int64_t from_rows = std::min(drop, rows_);
  rows_ -= from_rows;
  drop -= from_rows;
  if (drop == 0 || gap_) return;
  const std::int64_t length = state_.length() - drop;
  if (length > 0 && drop <= forward::kRollback && state_.rewind_target(length) == length)
    state_.rewind(length);
  else
    end_ = -1;  // the next token leaves a gap
}

void Draft::feed(std::span<const std::int32_t> tokens, const CancelFlag* cancel) {
  if (gap_) state_.rewind(0);
  gap_ = true;  // if this fails
  const std::int64_t most = context_.forward().options().max_tokens;
  for (std::int64_t at = 0, n = 0; at < rows_; at += n) {
    n = std::min(most, rows_ - at);
    const auto ids =
        tokens.subspan(static_cast<std::size_t>(end_ - rows_ + at), static_cast<std::size_t>(n));
    context_.forward().feed_dspark(state_, ids, row(at), cancel);
  }
  gap_ = false;
  rows_ = 0;
}

// The block is fed with the tokens behind those that it sees.
std::size_t Draft::guess_mtp(std::span<const std::int32_t> tokens, const CancelFlag* cancel) {
  if (rows_ == 0) return 0;
  if (gap_) state_.rewind(0);
  gap_ = true;
  const auto n = static_cast<std::size_t>(rows_);
  const auto next = tokens.subspan(static_cast<std::size_t>(end_ - rows_ + 1), n);
  context_.forward().run_mtp(state_, next, seen_.data(), guesses_.data(), cancel);
  gap_ = false;
  rows_ = 0;
  const float* last = guesses_.data() + (n - 1) * vocab_;
  ids_[0] = static_cast<std::int32_t>(std::max_element(last, last + vocab_) - last);
  chances_[0] = 1;
  return 1;
}

std::size_t Draft::guess_dspark(std::int32_t token, const CancelFlag* cancel) {
  const model::Config& c = context_.model().config();
  if (state_.length() == 0 || state_.length() + c.dspark_block_size > c.max_positions) return 0;
  context_.forward().run_dspark(state_, token, {ids_.data(), chances_.data(), nullptr}, cancel);
  const auto n = static_cast<std::size_t>(c.dspark_block_size);
  std::transform(chances_.data(), chances_.data() + n, chances_.data(), sigmoid);
  return n;
}

std::span<const std::int32_t> Draft::guess(std::span<const std::int32_t> tokens,
                                           std::int64_t position, std::size_t most,
                                           const CancelFlag* cancel) {
  if (end_ != position || most == 0) return {};
  if (dspark_) feed(tokens, cancel);
  const std::size_t found = dspark_
                                ? guess_dspark(tokens[static_cast<std::size_t>(position)], cancel)
                                : guess_mtp(tokens, cancel);
  return {ids_.data(), pays_.worth({chances_.data(), std::min(found, most)})};
}

}  // namespace v4i::session
