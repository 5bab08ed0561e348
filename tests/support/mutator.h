// Mutator: small damage to files, the same for the same seed.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>

namespace v4i::test {

inline constexpr const char* kTokens[] = {"0",
                                          "-1",
                                          "1e999",
                                          "18446744073709551615",
                                          "4294967296",
                                          "null",
                                          "true",
                                          "[]",
                                          "{}",
                                          "\"\"",
                                          "\"F32\"",
                                          "[[",
                                          "}",
                                          "\"../x\"",
                                          "9007199254740993"};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : rng_(seed) {}

  std::size_t below(std::size_t n) { return n == 0 ? 0 : rng_() % n; }

  void flip_byte(std::string& s, std::size_t begin, std::size_t end) {
    if (begin < end) s[begin + below(end - begin)] = static_cast<char>(rng_());
  }

  // Replaces one run of digits or letters by something another writer might write.
  void replace_token(std::string& s, std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    std::size_t a = begin + below(end - begin);
    while (a > begin && std::isalnum(static_cast<unsigned char>(s[a - 1]))) --a;
    std::size_t b = a;
    while (b < end && std::isalnum(static_cast<unsigned char>(s[b]))) ++b;
    std::string token = kTokens[below(std::size(kTokens))];
    token.resize(std::max(token.size(), b - a), ' ');  // mostly keeps the header's length
    s.replace(a, b - a, token);
  }

  void swap_spans(std::string& s, std::size_t begin, std::size_t end) {
    if (end - begin < 64) return;
    const std::size_t n = 1 + below(16);
    const std::size_t a = begin + below(end - begin - n), b = begin + below(end - begin - n);
    for (std::size_t i = 0; i < n; ++i) std::swap(s[a + i], s[b + i]);
  }

  void text(std::string& s, std::size_t begin, std::size_t end) {
    switch (below(3)) {
      case 0:
        return flip_byte(s, begin, end);
      case 1:
        return replace_token(s, begin, end);
      default:
        return swap_spans(s, begin, end);
    }
  }

 private:
  std::mt19937_64 rng_;
};

}  // namespace v4i::test
