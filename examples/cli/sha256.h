// SHA-256 (FIPS 180-4) of what is fed piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cli {

class Sha256 {
 public:
  void update(const void* data, std::size_t bytes);
  std::string finish();  // 64 lower-case digits; the object is spent afterwards

 private:
  void block(const unsigned char* p);
  std::uint32_t h_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char rest_[64] = {};
  std::size_t in_rest_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace cli
