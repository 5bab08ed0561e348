// Feeds the MTP block; see draft.h.
#include "lib/session/draft.h"

#include <algorithm>

#include "lib/base/hash.h"

namespace v4i::session {

namespace {

// Its state must not be taken for one of the model's own.
Digest draft_identity(const Context& context) {
  Sha256 h;
  h.update(context.identity().data(), context.identity().size());
  h.update("mtp", 3);
  return h.finish();
}

Buffer<float> floats(Context& context, std::size_t n) {
  return {context.engine().budget(), n, Use::kScratch, "the drafts of a session"};
}

std::size_t stream_floats(const Context& context) {
  const model::Config& c = context.model().config();
  return static_cast<std::size_t>(c.hc_mult * c.width);
}

}  // namespace

Draft::Draft(Context& context)
    : context_(context),
      vocab_(static_cast<std::size_t>(context.vocab())),
      state_(std::make_shared<const kv::Layout>(context.forward().draft_layout()), context.cache(),
             draft_identity(context)),
      hidden_(floats(context, kMost * stream_floats(context))),
      logits_(floats(context, kMost * vocab_)),
      guesses_(floats(context, kMost * vocab_)) {}

void Draft::computed(std::int64_t end, std::int64_t count) {
  end_ = end;
  count_ = count;
}

std::optional<std::int32_t> Draft::guess(std::span<const std::int32_t> tokens,
                                         std::int64_t position, const CancelFlag* cancel) {
  if (end_ != position) return std::nullopt;
  if (fed_ != end_ - count_) state_.rewind(0);  // tokens are missing between
  const auto next =
      tokens.subspan(static_cast<std::size_t>(end_ - count_ + 1), static_cast<std::size_t>(count_));
  fed_ = -1;
  context_.forward().run_mtp(state_, next, hidden_.data(), guesses_.data(), cancel);
  fed_ = end_;
  const float* last = guesses_.data() + static_cast<std::size_t>(count_ - 1) * vocab_;
  return static_cast<std::int32_t>(std::max_element(last, last + vocab_) - last);
}

}  // namespace v4i::session
