// PCG64, SeedSequence, Lemire's method and Miller-Rabin; see numbers.h.
#include "lib/engram/numbers.h"

#include "lib/base/error.h"

namespace v4i::engram {

namespace {

// O'Neill's seed_seq_fe as numpy has it: a pool of four words from the seed's, then any number of
// words from the pool.
class SeedSequence {
 public:
  explicit SeedSequence(std::uint64_t seed) {
    const std::uint32_t words[4] = {static_cast<std::uint32_t>(seed),
                                    static_cast<std::uint32_t>(seed >> 32), 0, 0};
    for (int i = 0; i < 4; ++i) pool_[i] = hash(words[i]);
    for (int from = 0; from < 4; ++from)
      for (int to = 0; to < 4; ++to)
        if (from != to) pool_[to] = mix(pool_[to], hash(pool_[from]));
  }
  std::array<std::uint64_t, 4> state() const {
    std::array<std::uint64_t, 4> out{};
    std::uint32_t factor = 0x8b51f9dd;
    for (int i = 0; i < 8; ++i) {
      std::uint32_t v = pool_[i % 4] ^ factor;
      factor *= 0x58f38ded;
      v *= factor;
      v ^= v >> 16;
      out[static_cast<std::size_t>(i / 2)] |= static_cast<std::uint64_t>(v) << 32 * (i % 2);
    }
    return out;
  }

 private:
  std::uint32_t hash(std::uint32_t v) {
    v ^= factor_;
    factor_ *= 0x931e8875;
    v *= factor_;
    return v ^ v >> 16;
  }
  static std::uint32_t mix(std::uint32_t x, std::uint32_t y) {
    const std::uint32_t r = 0xca01f9dd * x - 0x4973f715 * y;
    return r ^ r >> 16;
  }

  std::uint32_t factor_ = 0x43b0d7e5;
  std::uint32_t pool_[4];
};

constexpr Uint128 kPcgFactor = static_cast<Uint128>(0x2360ed051fc65da4) << 64 | 0x4385df649fccf645;

// base^exponent mod n, for n up to 2^32.
std::uint64_t power(std::uint64_t base, std::uint64_t exponent, std::uint64_t n) {
  std::uint64_t out = 1;
  for (base %= n; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) out = out * base % n;
    base = base * base % n;
  }
  return out;
}

// Miller-Rabin's test of odd n - 1 = d * 2^twos to one base.
bool passes(std::uint64_t n, std::uint64_t base, std::uint64_t d, int twos) {
  std::uint64_t x = power(base, d, n);
  if (x == 1 || x == n - 1) return true;
  for (int i = 1; i < twos; ++i) {
    x = x * x % n;
    if (x == n - 1) return true;
  }
  return false;
}

// Exact below 4,759,123,141 (Jaeschke 1993: the bases 2, 7 and 61).
bool is_prime(std::uint64_t n) {
  for (const std::uint64_t p : {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61})
    if (n % p == 0) return n == p;
  if (n < 67 * 67) return n > 1;
  std::uint64_t d = n - 1;
  int twos = 0;
  for (; d % 2 == 0; d /= 2) ++twos;
  return passes(n, 2, d, twos) && passes(n, 7, d, twos) && passes(n, 61, d, twos);
}

}  // namespace

NumpyRandom::NumpyRandom(std::uint64_t seed) {
  const std::array<std::uint64_t, 4> s = SeedSequence(seed).state();
  increment_ = (static_cast<Uint128>(s[2]) << 64 | s[3]) << 1 | 1;
  state_ = increment_;  // one step from 0
  state_ += static_cast<Uint128>(s[0]) << 64 | s[1];
  state_ = state_ * kPcgFactor + increment_;
}

std::uint64_t NumpyRandom::next() {
  state_ = state_ * kPcgFactor + increment_;
  const auto x = static_cast<std::uint64_t>(state_ >> 64) ^ static_cast<std::uint64_t>(state_);
  const auto turn = static_cast<unsigned>(state_ >> 122);
  return x >> turn | x << (-turn & 63);
}

std::uint64_t NumpyRandom::below(std::uint64_t limit) {
  V4I_CHECK(limit > std::uint64_t{1} << 32);
  Uint128 m = static_cast<Uint128>(next()) * limit;
  if (static_cast<std::uint64_t>(m) < limit) {
    const std::uint64_t least = -limit % limit;
    while (static_cast<std::uint64_t>(m) < least) m = static_cast<Uint128>(next()) * limit;
  }
  return static_cast<std::uint64_t>(m >> 64);
}

std::uint64_t next_prime(std::uint64_t n) {
  while (!is_prime(n)) ++n;
  return n;
}

}  // namespace v4i::engram
