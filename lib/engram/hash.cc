// Hash: multipliers, primes and rows; see hash.h.
#include "lib/engram/hash.h"

#include <algorithm>
#include <limits>

#include "lib/base/error.h"

namespace v4i::engram {

namespace {

// Odd, and so small that a class times any of them stays below 2^63.
std::vector<std::uint64_t> multipliers_of(int layer, const model::EngramConfig& c) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t bound = kLargest / static_cast<std::uint64_t>(c.classes) / 2;
  NumpyRandom random(10007 * static_cast<std::uint64_t>(layer));
  std::vector<std::uint64_t> out;
  for (std::int64_t i = 0; i < c.max_ngram; ++i) out.push_back(2 * random.below(bound) + 1);
  return out;
}

}  // namespace

Hash::Hash(const model::EngramConfig& c, std::int32_t pad, const std::string& name)
    : max_ngram_(c.max_ngram),
      heads_(c.heads),
      columns_((c.max_ngram - 1) * c.heads),
      classes_(static_cast<std::int32_t>(c.classes)),
      pad_(pad) {
  // The search begins again for every order, and no prime is taken twice: so they are simply the
  // next ones.
  auto next = static_cast<std::uint64_t>(c.bucket_rows);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    Layer& layer = layers_.emplace_back();
    layer.multipliers = multipliers_of(c.layers[i], c);
    std::uint64_t sum = 0;
    const auto rows = static_cast<std::uint64_t>(c.rows[i]);
    for (std::int64_t k = 0; k < columns_ && sum <= rows; ++k) {
      const std::uint64_t prime = next_prime(next);
      next = prime + 1;
      layer.parts.push_back(
          {Modulo(static_cast<std::uint32_t>(prime)), static_cast<std::int32_t>(sum)});
      sum += prime;
    }
    if (sum != rows)
      fail(Code::kFormat,
           "{}: engram_num_embeddings has {} for layer {}, expected {}{}, the sum of its primes "
           "from engram_vocab_size {} on",
           name, rows, c.layers[i], sum > rows ? "at least " : "", sum, c.bucket_rows);
  }
}

std::span<const std::uint64_t> Hash::multipliers(std::size_t layer) const {
  return layers_[layer].multipliers;
}

void Hash::rows(std::size_t layer, const std::int32_t* window, std::int32_t* out) const {
  const Layer& l = layers_[layer];
  std::uint64_t x = 0;
  bool dead = false;
  auto part = l.parts.begin();
  for (std::int64_t n = 0; n < max_ngram_; ++n) {
    const std::int32_t c = window[n];
    V4I_CHECK(c < classes_ && c >= kDead);
    dead = dead || c == kDead;
    x ^= static_cast<std::uint64_t>(dead ? pad_ : c) * l.multipliers[static_cast<std::size_t>(n)];
    if (n == 0) continue;
    for (std::int64_t h = 0; h < heads_; ++h, ++part)
      *out++ = part->begin + static_cast<std::int32_t>(part->prime.of(x));
  }
}

void fill_windows(std::span<const std::int32_t> classes, std::size_t first, std::int64_t max_ngram,
                  std::int32_t* out) {
  for (std::size_t p = first; p < classes.size(); ++p)
    for (std::int64_t k = 0; k < max_ngram; ++k) {
      const auto back = static_cast<std::size_t>(k);
      *out++ = back > p ? kDead : classes[p - back];
    }
}

}  // namespace v4i::engram
