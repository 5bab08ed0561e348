// Hashes: SHA-256 names things, checksum64 notices damage.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace v4i {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void update(const void* data, std::size_t bytes);
  Digest finish();  // the object is spent afterwards

 private:
  void block(const std::uint8_t* p);
  std::uint32_t h_[8];
  std::uint8_t tail_[64];
  std::size_t tail_size_ = 0;
  std::uint64_t total_ = 0;
};

std::string to_hex(const Digest& d);  // 64 lower-case digits

// XXH3, 64 bits, of xxHash: at the speed of memory, not cryptographic, the same on every machine.
std::uint64_t checksum64(const void* data, std::size_t bytes, std::uint64_t seed = 0);

}  // namespace v4i
