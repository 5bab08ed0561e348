// Pays: whether drafts are worth their time, by the time that tokens took with and without.
//
// Drafts pay where a run of two tokens costs little more than one and guesses are often right,
// which depends on the model, the text, the machine and what else runs on it.  So both ways are
// timed, the slower one now and then.
#pragma once

#include <array>
#include <cstdint>

namespace v4i::session {

class Pays {
 public:
  // Which way the next step goes.
  bool choose() {
    ++steps_;
    if (steps_ <= kFirst) return true;  // while the block's window fills
    if (steps_ <= kFirst + kOther) return false;
    const bool better = ns_[1] <= ns_[0];
    return steps_ % kEvery < kOther ? !better : better;
  }
  void took(bool drafted, std::uint64_t ns, int tokens) {
    double& mean = ns_[drafted ? 1 : 0];
    const double now = static_cast<double>(ns) / tokens;
    mean = mean == 0 ? now : mean + kWeight * (now - mean);
  }

 private:
  static constexpr std::uint64_t kFirst = 24, kOther = 4, kEvery = 128;
  static constexpr double kWeight = 1.0 / 16;
  std::uint64_t steps_ = 0;
  std::array<double, 2> ns_{};
};

}  // namespace v4i::session
