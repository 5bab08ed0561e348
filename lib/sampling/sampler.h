// Sampler: logits -> the next token.
//
// A pure function of (options, bias, logits, recent tokens, seed, position): the
// random number for a position is hashed from seed and position, so the same seed
// gives the same text whatever the batch, and a fork or a rewound session draws
// the same numbers again.
//
// Order: repeat penalty, logit bias, [grammar mask], temperature, top-k, top-p,
// min-p.  Ties are broken towards the lower token id.  Greedy is the largest logit
// after penalty and bias; the rest of the options is ignored.
//
// Logits that are no numbers: a NaN is never chosen; +inf wins over every number,
// several +inf share evenly.  When nothing but NaN and -inf is left (a damaged
// model, or a bias that bans everything) there is nothing to choose and sample()
// says so: going on with some token would be garbage text without a word.
//
// Any thread: options never change, the bias is replaced as a whole, and working
// memory is the caller's Scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace v4i::sampling {

// The values of v4i_sampler_options, zero already replaced by the model's default.
struct Options {
  bool greedy = false;
  float temperature = 1.0f;     // > 0
  float top_p = 1.0f;           // (0, 1], 1 = off
  float min_p = -1.0f;          // <= 1, <= 0 = off
  float repeat_penalty = 1.0f;  // > 0, 1 = off; divides positive logits, multiplies others
  int top_k = -1;               // >= 1, -1 = off
  int repeat_window = 64;       // >= 1: how many of the last tokens are penalised, each once
};

using Bias = std::vector<std::pair<std::int32_t, float>>;  // added; -inf bans the token

struct Choice {
  std::int32_t token = -1;
  float logprob = 0;  // natural log of the token's share of softmax(logits), before any
                      // penalty, bias or temperature
};

// Working memory of one caller, kept between calls.
struct Scratch {
  std::vector<float> logits;                               // after penalty and bias
  std::vector<std::pair<float, std::int32_t>> candidates;  // logit or weight, token
};

class Sampler {
 public:
  Sampler() = default;
  // Error(kInvalid) naming the option, the value and the allowed range.
  explicit Sampler(const Options& options);
  Sampler(const Sampler& o) : options_(o.options_), bias_(o.bias()) {}

  const Options& options() const { return options_; }
  // Replaces the bias from the next sample() on; entries of one token add up.
  // Error(kInvalid) for a negative token, NaN or +inf.
  void set_bias(Bias bias);

  // `recent` are the timeline's tokens, oldest first.  Allocates nothing when
  // `scratch` has served the same vocabulary before.  Error(kInvalid) when no token
  // can be chosen or the bias names a token behind the vocabulary.
  Choice sample(std::span<const float> logits, std::span<const std::int32_t> recent,
                std::uint64_t seed, std::uint64_t position, Scratch* scratch) const;

 private:
  std::shared_ptr<const Bias> bias() const;

  Options options_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Bias> bias_;
};

// The random number of a position, uniform in [0, 1) with 53 bits: output
// number `position` of the SplitMix64 generator (Steele, Lea, Flood 2014) whose
// state starts at mix(seed).
double uniform(std::uint64_t seed, std::uint64_t position);

// The n most likely tokens with log-probabilities, best first; ties to the lower
// id; NaN logits are left out.
std::vector<std::pair<std::int32_t, float>> top_logprobs(std::span<const float> logits,
                                                         std::size_t n);
// log(sum(exp(logits))), in double; NaN are left out; -inf when nothing is left.
double log_sum_exp(std::span<const float> logits);

}  // namespace v4i::sampling
