// What drafts cost and give; see pays.h.
#include "lib/session/pays.h"

#include <algorithm>

namespace v4i::session {

void Pays::add(double& mean, double now) {
  constexpr double kWeight = 1.0 / 16;
  mean = mean == 0 ? now : mean + kWeight * (now - mean);
}

bool Pays::choose() {
  ++steps_;
  if (steps_ <= kFirst) return true;  // while the draft's window fills
  if (steps_ <= kFirst + kOther) return false;
  const bool better = ns_[1] <= ns_[0];
  return steps_ % kEvery < kOther ? !better : better;
}

void Pays::took(bool drafted, std::uint64_t ns, int tokens) {
  add(ns_[drafted ? 1 : 0], static_cast<double>(ns) / tokens);
}

void Pays::drafted(std::uint64_t ns) { add(draft_ns_, static_cast<double>(ns)); }

void Pays::ran(std::size_t guesses, std::uint64_t ns) {
  if (guesses == 0) return add(run_ns_, static_cast<double>(ns));
  add(many_ns_, static_cast<double>(ns));
  add(many_, static_cast<double>(guesses));
}

void Pays::judged(std::size_t at, float chance, bool right) {
  constexpr double kWeight = 1.0 / 32;
  Place& p = places_[std::min(at, kPlaces - 1)];
  p.said += kWeight * (static_cast<double>(chance) - p.said);
  p.right += kWeight * ((right ? 1.0 : 0.0) - p.right);
}

std::size_t Pays::worth(std::span<const float> chances) {
  const bool all = ++drafts_ <= kFirst || drafts_ % kTryAll == 0;
  if (all || run_ns_ == 0 || many_ == 0) return chances.size();
  const double more = std::max(0.0, many_ns_ - run_ns_) / many_;
  double chance = 1, tokens = 1, ns = draft_ns_ + run_ns_;
  std::size_t n = 0;
  for (; n < chances.size(); ++n) {
    const Place& p = places_[std::min(n, kPlaces - 1)];
    chance *= std::min(static_cast<double>(chances[n]) * p.right / std::max(p.said, 1e-6), 1.0);
    const bool joins = chance * ns > tokens * more;  // false for a chance that is no number
    if (n > 0 && !joins) break;
    tokens += chance;
    ns += more;
  }
  return n;
}

}  // namespace v4i::session
