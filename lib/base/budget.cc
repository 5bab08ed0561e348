// Budget and the aligned memory behind Buffer; see budget.h.
#include "lib/base/budget.h"

#include <sys/mman.h>

#include <cstring>

#include "lib/base/error.h"

namespace v4i {

namespace {

constexpr const char* kPlaces[kPlaceCount] = {"host memory", "pinned host memory", "device memory",
                                              "disk"};

}  // namespace

Budget::Budget(std::uint64_t host_cap, HostAllocator allocator) : allocator_(allocator) {
  set_cap(host_cap);
}

bool Budget::try_take(Account& a, std::uint64_t bytes) noexcept {
  std::uint64_t have = a.total.load();
  do {
    const std::uint64_t cap = a.cap.load();
    if (bytes > cap || have > cap - bytes) return false;
  } while (!a.total.compare_exchange_weak(have, have + bytes));
  std::uint64_t peak = a.peak.load();
  while (peak < have + bytes && !a.peak.compare_exchange_weak(peak, have + bytes)) {
  }
  return true;
}

bool Budget::try_take(Place place, Use use, std::uint64_t bytes) noexcept {
  if (!try_take(at(place), bytes)) return false;
  at(place).by_use[static_cast<int>(use)] += bytes;
  return true;
}

void Budget::change_cap(std::uint64_t bytes, Place place) {
  set_cap(bytes, place);
  const std::uint64_t have = used(place);
  if (have > bytes) reclaim(place, have - bytes);
}

void Budget::take(Place place, Use use, std::uint64_t bytes, const char* what) {
  Account& a = at(place);
  while (!try_take(a, bytes)) {
    if (bytes <= a.cap.load() && reclaim(place, bytes)) continue;
    fail(Code::kNoMemory,
         "{} needs {} bytes of {}; {} of the budget of {} are in use (weights {}, KV {}, scratch "
         "{}): release sessions or raise the budget",
         what, bytes, kPlaces[static_cast<int>(place)], a.total.load(), a.cap.load(),
         used(Use::kWeights, place), used(Use::kKv, place), used(Use::kScratch, place));
  }
  a.by_use[static_cast<int>(use)] += bytes;
}

void Budget::give(Place place, Use use, std::uint64_t bytes) noexcept {
  at(place).by_use[static_cast<int>(use)] -= bytes;
  at(place).total -= bytes;
}

void Budget::add(Reclaimer* reclaimer) {
  const std::scoped_lock lock(reclaimers_mutex_);
  reclaimers_.push_back(reclaimer);
}

void Budget::remove(Reclaimer* reclaimer) noexcept {
  const std::scoped_lock lock(reclaimers_mutex_);
  std::erase(reclaimers_, reclaimer);
}

// True when somebody gave back something, so that another try is worth it.
bool Budget::reclaim(Place place, std::uint64_t bytes) noexcept {
  const std::scoped_lock lock(reclaimers_mutex_);
  std::uint64_t got = 0;
  for (const std::uint64_t keep : {cap(place) / 2, std::uint64_t{0}})
    for (Reclaimer* r : reclaimers_)
      if (got < bytes) got += r->give_back(place, bytes - got, keep);
  return got > 0;
}

namespace detail {

namespace {

// Larger ones come from the kernel as zero pages, which cost nothing until they are used (a
// workspace for 512 tokens and a prompt of 16), and go back to it: malloc keeps what lies between
// others.  KV rows are gathered from everywhere, so that
// large pages are asked for; in a workspace they would only have to be zeroed (start_bench).
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kLarge = ~std::size_t{0};  // it watches the ends of what operator new gives
#else
constexpr std::size_t kLarge = std::size_t{128} << 10;
#endif
constexpr std::size_t kHuge = std::size_t{1} << 20;  // large pages are asked for from here on

void* own_alloc(std::size_t bytes, std::size_t align, Use use) {
  if (bytes < kLarge) {
    void* p = ::operator new (bytes, std::align_val_t{align}, std::nothrow);
    return p == nullptr ? nullptr : std::memset(p, 0, bytes);
  }
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (use == Use::kKv && bytes >= kHuge) ::madvise(p, bytes, MADV_HUGEPAGE);
#else
  static_cast<void>(use);
#endif
  return p;
}

void own_free(void* p, std::size_t bytes, std::size_t align) noexcept {
  if (bytes < kLarge)
    ::operator delete (p, std::align_val_t{align});
  else
    ::munmap(p, bytes);
}

}  // namespace

void* take_aligned(Budget& budget, std::size_t count, std::size_t size, std::size_t align, Use use,
                   const char* what) {
  if (count > (std::size_t{1} << 62) / size)
    fail(Code::kNoMemory, "{} needs {} x {} bytes, more than any machine has", what, count, size);
  const std::size_t bytes = count * size;
  budget.take(Place::kHost, use, bytes, what);
  const HostAllocator& a = budget.allocator();
  void* p = a.alloc != nullptr ? a.alloc(bytes, align, a.user) : own_alloc(bytes, align, use);
  if (p == nullptr) {
    budget.give(Place::kHost, use, bytes);
    fail(Code::kNoMemory, "{} needs {} bytes of host memory; the system has none left", what,
         bytes);
  }
  if (a.alloc != nullptr) std::memset(p, 0, bytes);
  return p;
}

void give_aligned(Budget& budget, void* p, std::size_t bytes, std::size_t align, Use use) noexcept {
  const HostAllocator& a = budget.allocator();
  if (a.alloc != nullptr) {
    if (a.free != nullptr) a.free(p, bytes, align, a.user);
  } else {
    own_free(p, bytes, align);
  }
  budget.give(Place::kHost, use, bytes);
}

}  // namespace detail
}  // namespace v4i
