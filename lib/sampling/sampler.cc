// Sampler: penalty and bias, then greedy or a draw.  See sampler.h for the order.
#include "lib/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/error.h"

namespace v4i::sampling {

namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Terms this far below the largest change no bit of a double sum of any vocabulary:
// 2^32 e^-60 < 2^-53.
constexpr double kNegligible = -60;

using Candidate = std::pair<float, std::int32_t>;

bool better(const Candidate& a, const Candidate& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

void check(bool good, const char* option, double value, const char* range) {
  if (!good) fail(Code::kInvalid, "sampler option {} is {}, allowed is {}", option, value, range);
}

// The index of the largest number; ties to the lower; -1 when all are NaN or -inf.
std::int32_t argmax(std::span<const float> x) {
  std::int32_t best = -1;
  float top = kMinusInf;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] > top) {
      top = x[i];
      best = static_cast<std::int32_t>(i);
    }
  }
  return best;
}

// A token that occurs often in `recent` is penalised once.  The test for "not yet"
// is that the logit still has its old value; where a penalty leaves a value as it
// was, applying it again does no harm.
void penalise(std::span<const float> before, std::span<const std::int32_t> recent, float penalty,
              std::vector<float>* after) {
  for (const std::int32_t token : recent) {
    const auto i = static_cast<std::size_t>(token);
    if (token < 0 || i >= before.size() || (*after)[i] != before[i]) continue;
    (*after)[i] = before[i] > 0 ? before[i] / penalty : before[i] * penalty;
  }
}

void add_bias(const Bias& bias, std::vector<float>* logits) {
  for (const auto& [token, value] : bias) {
    if (static_cast<std::size_t>(token) >= logits->size())
      fail(Code::kInvalid, "logit bias names token {}, the vocabulary has {}", token,
           logits->size());
    (*logits)[static_cast<std::size_t>(token)] += value;
  }
}

// Keeps the k best, best first.
void keep_top_k(int k, std::vector<Candidate>* c) {
  const auto keep = static_cast<std::ptrdiff_t>(k);
  if (static_cast<std::size_t>(k) < c->size()) {
    std::nth_element(c->begin(), c->begin() + keep, c->end(), better);
    c->resize(static_cast<std::size_t>(k));
  }
  std::sort(c->begin(), c->end(), better);
}

// Logits to weights, the best one 1; returns their sum.
double to_weights(float top, float temperature, std::vector<Candidate>* c) {
  double sum = 0;
  for (Candidate& x : *c) {
    x.first = x.first == top ? 1.0f : std::exp((x.first - top) / temperature);
    sum += x.first;
  }
  return sum;
}

// Keeps the shortest best-first prefix that holds `share` of `sum`, best first.
// Whatever weighs less than an even part of the rest cannot be in it: all such
// tokens together weigh less than the rest.  So only a few need sorting.
void keep_top_p(double share, double sum, std::vector<Candidate>* c) {
  const double floor = (1 - share) * sum / static_cast<double>(c->size());
  std::erase_if(*c, [&](const Candidate& x) { return x.first < floor; });
  std::sort(c->begin(), c->end(), better);
  double held = 0;
  std::size_t n = 0;
  while (n < c->size() && held < share * sum) held += (*c)[n++].first;
  c->resize(n);
}

std::int32_t draw(const std::vector<Candidate>& c, double u) {
  double sum = 0;
  for (const Candidate& x : c) sum += x.first;
  double left = u * sum;
  for (const Candidate& x : c) {
    left -= x.first;
    if (left < 0) return x.second;
  }
  // Rounding left a crumb: it belongs to the last token that weighs anything.
  for (auto x = c.rbegin(); x != c.rend(); ++x)
    if (x->first > 0) return x->second;
  return c.front().second;
}

// `best` is the token of the largest logit.
std::int32_t sample_weighted(const Options& o, std::span<const float> logits, std::int32_t best,
                             double u, std::vector<Candidate>* c) {
  c->clear();
  c->reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > kMinusInf) c->emplace_back(logits[i], static_cast<std::int32_t>(i));
  if (o.top_k > 0) keep_top_k(o.top_k, c);
  const double sum = to_weights(logits[static_cast<std::size_t>(best)], o.temperature, c);
  if (o.top_p < 1) keep_top_p(o.top_p, sum, c);
  if (o.min_p > 0) std::erase_if(*c, [&](const Candidate& x) { return x.first < o.min_p; });
  return draw(*c, u);
}

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

float logprob(float logit, double total) {
  if (total == kInf) return logit == kInf ? 0.0f : kMinusInf;
  return static_cast<float>(logit - total);
}

}  // namespace

Sampler::Sampler(const Options& o) : options_(o) {
  check(std::isfinite(o.temperature) && o.temperature > 0, "temperature", o.temperature,
        "a number above 0");
  check(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "above 0 to 1 (1 = off)");
  check(o.min_p <= 1, "min_p", o.min_p, "at most 1 (0 or less = off)");
  check(std::isfinite(o.repeat_penalty) && o.repeat_penalty > 0, "repeat_penalty", o.repeat_penalty,
        "a number above 0 (1 = off)");
  check(o.top_k == -1 || o.top_k >= 1, "top_k", o.top_k, "1 or more (-1 = off)");
  check(o.repeat_window >= 1, "repeat_window", o.repeat_window, "1 or more");
}

void Sampler::set_bias(Bias bias) {
  for (const auto& [token, value] : bias) {
    if (token < 0) fail(Code::kInvalid, "logit bias names token {}, ids start at 0", token);
    if (!(value < kInf))
      fail(Code::kInvalid, "logit bias of token {} is {}, allowed are numbers and -inf", token,
           value);
  }
  auto fresh = bias.empty() ? nullptr : std::make_shared<const Bias>(std::move(bias));
  std::lock_guard lock(mutex_);
  bias_.swap(fresh);
}

std::shared_ptr<const Bias> Sampler::bias() const {
  std::lock_guard lock(mutex_);
  return bias_;
}

Choice Sampler::sample(std::span<const float> logits, std::span<const std::int32_t> recent,
                       std::uint64_t seed, std::uint64_t position, Scratch* scratch) const {
  std::span<const float> x = logits;
  const auto bias = this->bias();
  if (options_.repeat_penalty != 1 || bias != nullptr) {
    scratch->logits.assign(logits.begin(), logits.end());
    const auto window = static_cast<std::size_t>(options_.repeat_window);
    if (options_.repeat_penalty != 1)
      penalise(logits, recent.last(std::min(window, recent.size())), options_.repeat_penalty,
               &scratch->logits);
    if (bias != nullptr) add_bias(*bias, &scratch->logits);
    x = scratch->logits;
  }
  Choice choice;
  choice.token = argmax(x);
  if (choice.token < 0)
    fail(Code::kInvalid, "no token can be chosen: all {} logits are NaN or minus infinity",
         x.size());
  if (!options_.greedy)
    choice.token =
        sample_weighted(options_, x, choice.token, uniform(seed, position), &scratch->candidates);
  choice.logprob = logprob(logits[static_cast<std::size_t>(choice.token)], log_sum_exp(logits));
  return choice;
}

double uniform(std::uint64_t seed, std::uint64_t position) {
  constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15ull;  // 2^64 / golden ratio, odd
  const std::uint64_t z = mix(mix(seed + kGamma) + kGamma * (position + 1));
  return static_cast<double>(z >> 11) * 0x1p-53;
}

std::vector<std::pair<std::int32_t, float>> top_logprobs(std::span<const float> logits,
                                                         std::size_t n) {
  std::vector<Candidate> c;
  c.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i])) c.emplace_back(logits[i], static_cast<std::int32_t>(i));
  n = std::min(n, c.size());
  std::partial_sort(c.begin(), c.begin() + static_cast<std::ptrdiff_t>(n), c.end(), better);
  const double total = log_sum_exp(logits);
  std::vector<std::pair<std::int32_t, float>> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.emplace_back(c[i].second, logprob(c[i].first, total));
  return out;
}

double log_sum_exp(std::span<const float> logits) {
  const std::int32_t best = argmax(logits);
  if (best < 0) return -kInf;
  const double top = logits[static_cast<std::size_t>(best)];
  if (top == kInf) return kInf;
  double sum = 0;
  for (const float x : logits) {
    const double d = x - top;
    if (d > kNegligible) sum += std::exp(d);  // false for NaN
  }
  return top + std::log(sum);
}

}  // namespace v4i::sampling
