// Steps that compute a guess beside the pending token; see draft.h.
#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/session/looking.h"
#include "lib/session/session.h"

namespace v4i::session {

bool Session::make_draft(std::int64_t most) {
  if (most < Draft::kMost || size() + Draft::kMost > options_.context_size) return false;
  if (context_->forward().options().max_tokens < Draft::kMost) return false;
  if (draft_ != nullptr) return true;
  if (!Draft::possible(*context_)) return false;
  try {
    draft_ = std::make_unique<Draft>(*context_);
  } catch (const Error& e) {
    if (e.code() != Code::kNoMemory) throw;
  }
  return draft_ != nullptr;
}

std::optional<std::int32_t> Session::guess(const CancelFlag* cancel) try {
  Session* const self = this;
  const Turn turn(context_->engine().compute_lock(), cancel);
  const Looking looking({&self, 1});
  return draft_->guess(tokens_, position(), cancel);
} catch (const Error& e) {
  if (e.code() != Code::kNoMemory) throw;
  return std::nullopt;
}

void Session::keep_logits(std::span<const float> logits) {
  std::copy(logits.begin(), logits.end(), logits_.data());
  logits_at_ = position();
}

Step Session::step_drafted(const RunOptions& options, const OnToken& on_token) {
  const auto start = Clock::now();
  const std::int64_t before = position();
  const bool wanted = draft_->pays().choose() &&
                      state_.chunk_length(Draft::kMost, kv::State::kNoEnd) == Draft::kMost;
  const std::optional<std::int32_t> guessed = wanted ? guess(options.cancel) : std::nullopt;
  const std::array<std::int32_t, Draft::kMost> ids{tokens_.back(), guessed.value_or(0)};
  forward::Item it;
  it.state = &state_;
  it.tokens = std::span(ids).first(guessed ? Draft::kMost : 1);
  it.logits = draft_->logits();
  it.all_logits = true;
  it.hidden = draft_->hidden();
  Session* const self = this;
  run({&self, 1}, {&it, 1}, options.cancel, options_.profile ? &profile_ : nullptr);

  // Takes back what the session has not drawn: of what was computed its last token stays pending.
  const auto take_back = [&] {
    ahead_ = 0;
    if (position() >= size()) state_.rewind(state_.rewind_target(size() - 1));
  };
  ahead_ = guessed ? 1 : 0;
  Step out;
  bool accepted = false;
  try {
    out = draw(draft_->logits(0));
    keep_logits(draft_->logits(0));
    const bool enough = on_token && on_token(out);
    accepted = guessed == out.token && out.finish == Finish::kNone && !enough;
    if (accepted) {
      ahead_ = 0;
      drafted_text_ = out.text;
      out = draw(draft_->logits(1));
      keep_logits(draft_->logits(1));
      if (on_token) on_token(out);
      drafted_text_ += out.text;
      out.text = drafted_text_;
    } else {
      take_back();
    }
  } catch (...) {
    take_back();
    throw;
  }
  const std::int64_t tokens = position() - before;
  out.tokens = std::span(tokens_).last(static_cast<std::size_t>(tokens));
  out.drafted = guessed ? 1 : 0;
  out.accepted = accepted ? 1 : 0;
  metrics_.drafted += out.drafted;
  metrics_.accepted += out.accepted;
  draft_->computed(position(), tokens);
  computed(tokens, true, true, start);
  const auto ns = static_cast<std::uint64_t>((Clock::now() - start).count());
  draft_->pays().took(guessed.has_value(), ns, static_cast<int>(tokens));
  return out;
}

}  // namespace v4i::session
