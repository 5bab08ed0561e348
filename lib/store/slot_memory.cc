// From the host's allocator or as pages of the kernel; see slot_memory.h.
#include "lib/store/slot_memory.h"

#include <sys/mman.h>

namespace v4i::store {

namespace {

// Its own mapping, so that memory that is given back leaves the process at once.
std::byte* map_pages(std::size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  ::madvise(p, bytes, MADV_HUGEPAGE);  // a direct read pins every page that it writes to
#endif
  return static_cast<std::byte*>(p);
}

}  // namespace

SlotMemory::SlotMemory(Budget& budget, std::size_t bytes, std::size_t extra) noexcept {
  if (!budget.try_take(Place::kHost, Use::kWeights, bytes + extra)) return;
  const HostAllocator& a = budget.allocator();
  data_ = a.alloc != nullptr ? static_cast<std::byte*>(a.alloc(bytes, kAlign, a.user))
                             : map_pages(bytes);
  if (data_ == nullptr) {
    budget.give(Place::kHost, Use::kWeights, bytes + extra);
    return;
  }
  budget_ = &budget;
  bytes_ = bytes;
  extra_ = extra;
}

SlotMemory::~SlotMemory() {
  if (data_ == nullptr) return;
  const HostAllocator& a = budget_->allocator();
  if (a.alloc == nullptr)
    ::munmap(data_, bytes_);
  else if (a.free != nullptr)
    a.free(data_, bytes_, kAlign, a.user);
  budget_->give(Place::kHost, Use::kWeights, bytes_ + extra_);
}

}  // namespace v4i::store
