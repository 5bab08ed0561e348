// Pinned memory for buffers, and what tells stores outside of them; see memory.h.
#include "tests/cuda/on_device/memory.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "lib/base/error.h"

namespace v4i::emulate {
namespace {

constexpr std::size_t kFront = 256;  // bytes of pattern; behind a buffer at least as many
constexpr std::uint8_t kPattern = 0x5d;
constexpr std::uintptr_t kLeastAddress = std::uintptr_t{0x5000} << 32;

std::size_t block_size(std::size_t bytes) {
  std::size_t size = 4096;
  while (size < bytes + 2 * kFront) size *= 2;
  return size;
}

// The first byte that is not of the pattern, or `bytes`.
std::size_t first_other(const std::uint8_t* p, std::size_t bytes) {
  return static_cast<std::size_t>(
      std::find_if(p, p + bytes, [](std::uint8_t b) { return b != kPattern; }) - p);
}

// Of the process: [begin, end) of every mapping that is written to, but for those far below heap
// and stack.  The driver reserves addresses there which two small integers side by side look like.
std::vector<std::pair<std::uintptr_t, std::uintptr_t>> mappings() {
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    char* end = nullptr;
    const auto from = std::strtoull(line.c_str(), &end, 16);
    if (end == nullptr || *end != '-' || from < kLeastAddress) continue;
    const auto to = std::strtoull(end + 1, &end, 16);
    if (std::strncmp(end, " rw", 3) == 0) all.emplace_back(from, to);
  }
  return all;
}

}  // namespace

std::uint8_t* Memory::take(std::size_t bytes) {
  const std::size_t size = block_size(bytes);
  std::vector<std::uint8_t*>& kept = kept_[size];
  void *host = nullptr, *there = nullptr;
  if (!kept.empty()) {
    host = there = kept.back();
    kept.pop_back();
  } else {
    device_.check(device_.api().allocate_pinned(device_.handle(), size, &host, &there),
                  "a buffer of a test");
  }
  if (host != there)
    fail(Code::kUnsupported,
         "pinned memory has one address on the host and another on the device: these tests need a "
         "device with unified addressing");
  auto* begin = static_cast<std::uint8_t*>(host);
  std::memset(begin, kPattern, size);
  used_[begin + kFront] = {begin, size, bytes};
  return begin + kFront;
}

void Memory::give(void* p) noexcept {
  const auto found = used_.find(static_cast<std::uint8_t*>(p));
  if (found == used_.end()) return;
  kept_[found->second.size].push_back(found->second.begin);
  used_.erase(found);
}

std::string Memory::damage(const Block& b) const {
  const std::uint8_t* behind = b.begin + kFront + b.bytes;
  const std::size_t rest = std::min(kFront, b.size - kFront - b.bytes);
  if (const std::size_t at = first_other(b.begin, kFront); at < kFront)
    return fmt::format("a store {} bytes in front of a buffer of {}", kFront - at, b.bytes);
  if (const std::size_t at = first_other(behind, rest); at < rest)
    return fmt::format("a store at byte {} of a buffer of {}", b.bytes + at, b.bytes);
  return {};
}

std::string Memory::damage() {
  std::string first;
  for (auto& [p, block] : used_) {
    const std::string what = damage(block);
    if (what.empty()) continue;
    if (first.empty()) first = what;
    std::memset(block.begin, kPattern, kFront);
    std::memset(p + block.bytes, kPattern, block.size - kFront - block.bytes);
  }
  return first;
}

// In a buffer or in the pattern in front of it: a store there is told.
bool Memory::holds(std::uintptr_t address) const {
  auto at = used_.upper_bound(reinterpret_cast<std::uint8_t*>(address + kFront));
  if (at == used_.begin()) return false;
  --at;
  return address <= reinterpret_cast<std::uintptr_t>(at->first) + at->second.bytes;
}

std::string Memory::foreign_address(const void* args, std::size_t bytes) const {
  const auto maps = mappings();
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    std::uintptr_t value = 0;
    std::memcpy(&value, static_cast<const std::uint8_t*>(args) + at, 8);
    const auto inside = [&](const auto& m) { return m.first <= value && value < m.second; };
    if (std::any_of(maps.begin(), maps.end(), inside) && !holds(value))
      return fmt::format("byte {} of the arguments is an address that is in no buffer", at);
  }
  return {};
}

}  // namespace v4i::emulate
