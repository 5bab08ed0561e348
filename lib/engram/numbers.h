// The arithmetic behind Engram's hashes: numpy's random numbers, primes, and a fast remainder.
#pragma once

#include <array>
#include <cstdint>

namespace v4i::engram {

__extension__ typedef unsigned __int128 Uint128;

// numpy.random.default_rng(seed): PCG64 (XSL-RR 128/64), seeded through SeedSequence.
class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint64_t seed);
  std::uint64_t next();
  // integers(0, limit), for a limit above 2^32: smaller ones are drawn otherwise.
  std::uint64_t below(std::uint64_t limit);

 private:
  Uint128 state_, increment_;
};

// The smallest prime that is at least `n`, for n up to 2^32.
std::uint64_t next_prime(std::uint64_t n);

// x mod `divisor` by a multiplication, for every x of 64 bits.
class Modulo {
 public:
  Modulo() = default;
  explicit Modulo(std::uint32_t divisor)
      : divisor_(divisor), inverse_(~std::uint64_t{0} / divisor) {}
  std::uint64_t divisor() const { return divisor_; }
  // The quotient that `inverse_` gives is right or 1 too small.
  std::uint32_t of(std::uint64_t x) const {
    const auto q = static_cast<std::uint64_t>(static_cast<Uint128>(x) * inverse_ >> 64);
    std::uint64_t r = x - q * divisor_;  // below 2 * divisor_
    if (r >= divisor_) r -= divisor_;
    return static_cast<std::uint32_t>(r);
  }

 private:
  std::uint64_t divisor_ = 1, inverse_ = 0;
};

}  // namespace v4i::engram
