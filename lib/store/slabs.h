// Slabs: pieces of host memory of a few sizes, for blocks that come and go.
//
// Each size has slabs of 4 MiB of its own, mapped from the kernel, and the pages of what is given
// back go back to the kernel at once.  So the process holds what the Budget has granted, whatever
// left memory in whatever order; malloc kept 60 % more after blocks of 37 KiB had left and others
// had taken their places, and never gave it back (tests/kv/resident_test.cc).
//
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace v4i::store {

class Slabs {
 public:
  // Sizes that are worth it: smaller ones would leave too little of a page, larger ones are mapped
  // one by one.
  static constexpr std::size_t kLeast = 4096, kMost = std::size_t{128} << 10;
  static bool serves(std::size_t bytes) { return bytes >= kLeast && bytes < kMost; }

  Slabs() = default;
  ~Slabs();
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  std::byte* take(std::size_t bytes);  // zeroed, aligned to 64; null when the system has none
  void give(std::byte* p, std::size_t bytes) noexcept;
  std::size_t slabs() const;  // mapped

 private:
  static constexpr std::size_t kSlabBytes = std::size_t{4} << 20;
  struct Slab {
    std::byte* at = nullptr;
    std::size_t used = 0;
    std::vector<std::uint64_t> taken;  // a bit for each piece
  };
  struct Size {
    std::size_t stride = 0;
    std::vector<Slab> slabs;     // by address
    std::size_t first_room = 0;  // no slab before it has room
    std::size_t pieces() const { return kSlabBytes / stride; }
  };
  Size& of(std::size_t bytes);
  static bool add_slab(Size& size);
  static void return_pages(const Size& size, const Slab& slab, std::size_t piece) noexcept;

  mutable std::mutex mutex_;
  std::vector<Size> sizes_;
};

}  // namespace v4i::store
