// Pays: whether drafts are worth their time, and how many guesses of one are.
//
// Drafts pay where a run of some tokens costs little more than one of a single token and guesses
// are often right, which depends on the model, the text, the machine and what else runs on it.  So
// both ways are timed, the slower one now and then, and the faster one is taken.
//
// How many guesses: a run of 1 + n tokens takes run + n * more ns, both measured, and gives
// 1 + a(1) + ... + a(n) tokens, where a(n) is the chance that guesses 1 to n are all right.  Guess
// n joins them while it gives more tokens a ns than the step without it does:
//
//   a(n) / more > (1 + a(1) + ... + a(n - 1)) / (draft + run + (n - 1) * more)
//
// a(n) is the product of what the draft says of each guess, sigmoid(confidence) in DSpark, times
// how much more or less often guesses at that place have been right than was said (drafts are too
// sure of themselves).  The first guess always joins; all of them do in the first drafts and in
// every 32nd, so that the rates are known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace v4i::session {

class Pays {
 public:
  // Which way the next step goes: with a draft or without.
  bool choose();
  // The step took `ns` and gave `tokens`.
  void took(bool drafted, std::uint64_t ns, int tokens);

  // Of guesses with these chances, each if those before are right, how many to compute.
  std::size_t worth(std::span<const float> chances);
  void drafted(std::uint64_t ns);                   // a draft was made
  void ran(std::size_t guesses, std::uint64_t ns);  // a run of 1 + guesses tokens
  void judged(std::size_t at, float chance,
              bool right);  // guess number `at`; those before were right

 private:
  static constexpr std::uint64_t kFirst = 24, kOther = 4, kEvery = 128, kTryAll = 32;
  static constexpr std::size_t kPlaces = 16;  // later guesses are judged with the last of them
  static void add(double& mean, double now);

  struct Place {
    double said = 1, right = 1;  // means
  };
  std::uint64_t steps_ = 0, drafts_ = 0;
  std::array<double, 2> ns_{};                                 // of a token: without drafts, with
  double draft_ns_ = 0, run_ns_ = 0, many_ns_ = 0, many_ = 0;  // many: runs with guesses
  std::array<Place, kPlaces> places_{};
};

}  // namespace v4i::session
