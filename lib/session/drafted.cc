// Steps that compute guesses beside the pending token; see draft.h.
#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/session/looking.h"
#include "lib/session/session.h"

namespace v4i::session {

namespace {

std::uint64_t ns_since(std::chrono::steady_clock::time_point start) {
  return static_cast<std::uint64_t>((std::chrono::steady_clock::now() - start).count());
}

}  // namespace

bool Session::make_draft(std::int64_t most) {
  if (most < 2) return false;
  if (draft_ != nullptr) return true;
  if (Draft::most(*context_) < 2) return false;
  try {
    draft_ = std::make_unique<Draft>(*context_);
  } catch (const Error& e) {
    if (e.code() != Code::kNoMemory) throw;
  }
  return draft_ != nullptr;
}

// What a draft has no memory for it does without.
template <class Body>
void Session::draft_turn(const CancelFlag* cancel, Body&& body) try {
  Session* const self = this;
  const Turn turn(context_->engine().compute_lock(), cancel);
  const Looking looking({&self, 1});
  body();
} catch (const Error& e) {
  if (e.code() != Code::kNoMemory) throw;
}

void Session::show_draft(std::int64_t first, std::int64_t n, forward::Item* item,
                         const CancelFlag* cancel) {
  if (!draft_->has_room(n)) draft_turn(cancel, [&] { draft_->feed(tokens_, cancel); });
  draft_->ask(first, n, item);
}

// At most as many as may be drawn, and as snapshots allow to compute at once.
std::span<const std::int32_t> Session::guess(std::int64_t most, const CancelFlag* cancel) {
  const std::int64_t room =
      std::min({most, Draft::most(*context_), options_.context_size - size()});
  const std::int64_t n = room < 2 ? 1 : state_.chunk_length(room, kv::State::kNoEnd);
  std::span<const std::int32_t> found;
  if (!draft_->pays().choose() || n < 2) return found;
  const auto start = Clock::now();
  draft_turn(cancel, [&] {
    found = draft_->guess(tokens_, position(), static_cast<std::size_t>(n - 1), cancel);
  });
  if (!found.empty()) draft_->pays().drafted(ns_since(start));
  return found;
}

void Session::keep_logits(std::span<const float> logits) {
  std::copy(logits.begin(), logits.end(), logits_.data());
  logits_at_ = position();
}

// The pending token and the guesses behind it, which may be wrong.
void Session::run_drafted(std::span<const std::int32_t> guessed, const RunOptions& options) {
  const auto start = Clock::now();
  std::array<std::int32_t, Draft::kMost> ids{tokens_.back()};
  std::copy(guessed.begin(), guessed.end(), ids.begin() + 1);
  forward::Item it;
  it.state = &state_;
  it.tokens = std::span(ids).first(1 + guessed.size());
  it.logits = draft_->logits();
  it.all_logits = true;
  show_draft(position(), std::ssize(it.tokens), &it, options.cancel);
  Session* const self = this;
  run({&self, 1}, {&it, 1}, options.cancel, options_.profile ? &profile_ : nullptr);
  draft_->pays().ran(guessed.size(), ns_since(start));
  ahead_ = std::ssize(guessed);
}

// Of what was computed, the last drawn token stays pending.
void Session::take_back() {
  ahead_ = 0;
  if (position() >= size()) state_.rewind(state_.rewind_target(size() - 1));
}

// Draws from the model's logits for as long as the guesses are what it draws.
Step Session::draw_drafted(std::span<const std::int32_t> guessed, const OnToken& on_token) {
  Step out;
  for (std::size_t i = 0;; ++i) {
    try {
      out = draw(draft_->logits(i));
    } catch (const Error&) {  // of a later token: the next step says it
      if (i == 0) throw;
      break;
    }
    keep_logits(draft_->logits(i));
    if (i > 0 || !guessed.empty()) drafted_text_.append(out.text);
    const bool enough = on_token && on_token(out);
    if (i == guessed.size() || out.finish != Finish::kNone || enough) break;
    const bool right = guessed[i] == out.token;
    draft_->judged(i, right);
    if (!right) break;
    --ahead_;
  }
  return out;
}

Step Session::step_drafted(const RunOptions& options, std::int64_t most, const OnToken& on_token) {
  const auto start = Clock::now();
  const std::int64_t before = position();
  const std::span<const std::int32_t> guessed = guess(most, options.cancel);
  run_drafted(guessed, options);
  Step out;
  drafted_text_.clear();
  try {
    out = draw_drafted(guessed, on_token);
  } catch (...) {
    take_back();
    throw;
  }
  take_back();
  const std::int64_t tokens = position() - before;
  out.tokens = std::span(tokens_).last(static_cast<std::size_t>(tokens));
  if (!guessed.empty()) out.text = drafted_text_;
  out.drafted = static_cast<std::uint32_t>(guessed.size());
  out.accepted = static_cast<std::uint32_t>(tokens - 1);
  metrics_.drafted += out.drafted;
  metrics_.accepted += out.accepted;
  draft_->computed(tokens);
  computed(tokens, true, true, start);
  draft_->pays().took(!guessed.empty(), ns_since(start), static_cast<int>(tokens));
  return out;
}

}  // namespace v4i::session
