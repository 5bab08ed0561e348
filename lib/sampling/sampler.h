// Sampler: logits -> the next token.
//
// A pure function of (options, bias, logits, recent tokens, seed, position): the
// random number for a position is hashed from seed and position, so the same seed
// gives the same text whatever the batch, and a fork or a rewound session draws
// the same numbers again.
//
// Order: repeat penalty, logit bias, [grammar mask], temperature, top-k, top-p,
// min-p.  Ties are broken towards the lower token id.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace v4i::sampling {

// The values of v4i_sampler_options, zero already replaced by the model's default.
struct Options {
  bool greedy = false;
  float temperature = 1.0f;     // > 0
  float top_p = 1.0f;           // 1 = off
  float min_p = -1.0f;          // <= 0 = off
  float repeat_penalty = 1.0f;  // 1 = off
  int top_k = -1;               // -1 = off
  int repeat_window = 64;
};

struct Choice {
  std::int32_t token = -1;
  float logprob = 0;  // natural log of the token's share of softmax(logits), before any
                      // penalty, bias or temperature
};

class Sampler {
 public:
  Sampler() = default;
  // Error(kInvalid) naming the option, the value and the allowed range.
  explicit Sampler(const Options& options);

  const Options& options() const { return options_; }
  void set_bias(std::vector<std::pair<std::int32_t, float>> bias) { bias_ = std::move(bias); }

  // `recent` are the timeline's tokens, oldest first.  Scratch memory is kept
  // between calls: no allocation after the first.
  Choice sample(std::span<const float> logits, std::span<const std::int32_t> recent,
                std::uint64_t seed, std::uint64_t position);

 private:
  Options options_;
  std::vector<std::pair<std::int32_t, float>> bias_;
  std::vector<std::pair<float, std::int32_t>> scratch_;
};

// The n most likely tokens with log-probabilities, best first; ties to the lower id.
std::vector<std::pair<std::int32_t, float>> top_logprobs(std::span<const float> logits,
                                                         std::size_t n);
// log(sum(exp(logits))), in double.
double log_sum_exp(std::span<const float> logits);

}  // namespace v4i::sampling
