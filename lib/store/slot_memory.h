// SlotMemory: pages that a cache of weights reads into, counted as weights in the Budget's host
// memory.
//
// Not a Buffer: nobody is asked to give memory back for it, it is aligned for direct reads, and
// its bytes are not zeroed before they are read over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lib/base/budget.h"

namespace v4i::store {

class SlotMemory {
 public:
  static constexpr std::size_t kAlign = 4096;
  SlotMemory() = default;
  // Empty when the budget or the system has no room.  `extra` is counted besides.
  SlotMemory(Budget& budget, std::size_t bytes, std::size_t extra) noexcept;
  ~SlotMemory();
  SlotMemory(SlotMemory&& o) noexcept { *this = std::move(o); }
  SlotMemory& operator=(SlotMemory&& o) noexcept {
    std::swap(budget_, o.budget_);
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    std::swap(extra_, o.extra_);
    return *this;
  }

  explicit operator bool() const { return data_ != nullptr; }
  std::byte* data() const { return data_; }

 private:
  Budget* budget_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0, extra_ = 0;
};

}  // namespace v4i::store
