// Budget: a hard cap on the bytes that the engine asks for, place by place.
//
// Everything that grows with the model's context or with sessions (KV blocks,
// windows, workspaces) is taken through it.  What does not fit is refused with a
// sentence before memory is touched; before that, those who can do without some of
// theirs are asked to give it back (Reclaimer): caches of KV rows and of experts.
// Mapped checkpoint files are not counted: the kernel may drop those pages at any time.
//
// Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace v4i {

// Where bytes lie.
enum class Place : int { kHost = 0, kPinned = 1, kDevice = 2, kDisk = 3 };
inline constexpr int kPlaceCount = 4;

enum class Use : int { kWeights = 0, kKv = 1, kScratch = 2 };
inline constexpr int kUseCount = 3;

// Where host bytes come from.  The default is aligned operator new; a host
// program may hand in its own (v4i_allocator).
struct HostAllocator {
  void* (*alloc)(std::size_t bytes, std::size_t align, void* user) = nullptr;
  void (*free)(void* p, std::size_t bytes, std::size_t align, void* user) = nullptr;
  void* user = nullptr;
};

// Somebody who holds bytes that can be had again, at the price of time.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Gives back at least `bytes` of `place` if it can, while it holds more than `keep`; returns how
  // many it did.  Called from any thread, inside a take() of another; must not take().
  virtual std::uint64_t give_back(Place place, std::uint64_t bytes,
                                  std::uint64_t keep) noexcept = 0;
};

class Budget {
 public:
  static constexpr std::uint64_t kNoCap = ~std::uint64_t{0};
  // Of a host's wish, in which 0 is no cap.
  static constexpr std::uint64_t cap_of(std::uint64_t bytes) { return bytes == 0 ? kNoCap : bytes; }

  explicit Budget(std::uint64_t host_cap = kNoCap, HostAllocator allocator = {});

  std::uint64_t cap(Place place = Place::kHost) const { return at(place).cap.load(); }
  // Lower than what is in use is allowed: nothing new is granted until it fits.
  void set_cap(std::uint64_t bytes, Place place = Place::kHost) { at(place).cap.store(bytes); }

  std::uint64_t used(Place place = Place::kHost) const { return at(place).total.load(); }
  std::uint64_t used(Use use, Place place = Place::kHost) const {
    return at(place).by_use[static_cast<int>(use)].load();
  }
  std::uint64_t peak(Place place = Place::kHost) const { return at(place).peak.load(); }

  // Lowers or raises the cap, and has the reclaimers give back what is above it.
  void change_cap(std::uint64_t bytes, Place place = Place::kHost);

  // Throws Error(kNoMemory) naming place, `what`, wanted and free when `bytes` do not fit.
  void take(Place place, Use use, std::uint64_t bytes, const char* what);
  // For caches that grow: takes what is free and asks nobody to give anything back.
  bool try_take(Place place, Use use, std::uint64_t bytes) noexcept;
  void give(Place place, Use use, std::uint64_t bytes) noexcept;

  void add(Reclaimer* reclaimer);
  void remove(Reclaimer* reclaimer) noexcept;

  const HostAllocator& allocator() const { return allocator_; }

 private:
  struct Account {
    std::atomic<std::uint64_t> cap{kNoCap}, total{0}, peak{0};
    std::atomic<std::uint64_t> by_use[kUseCount] = {};
  };
  const Account& at(Place place) const { return accounts_[static_cast<int>(place)]; }
  Account& at(Place place) { return accounts_[static_cast<int>(place)]; }
  bool try_take(Account& a, std::uint64_t bytes) noexcept;
  // Asks those first who hold more than half of the cap, then everybody.
  bool reclaim(Place place, std::uint64_t bytes) noexcept;

  Account accounts_[kPlaceCount];
  HostAllocator allocator_;
  std::mutex reclaimers_mutex_;
  std::vector<Reclaimer*> reclaimers_;
};

// Bytes of the host that somebody else allocates, such as entries of tables, counted for as long as
// it lives.
class Counted {
 public:
  Counted() = default;
  Counted(Budget& budget, std::uint64_t bytes, Use use, const char* what)
      : budget_(&budget), bytes_(bytes), use_(use) {
    budget.take(Place::kHost, use, bytes, what);
  }
  ~Counted() {
    if (budget_ != nullptr) budget_->give(Place::kHost, use_, bytes_);
  }
  Counted(Counted&& o) noexcept
      : budget_(std::exchange(o.budget_, nullptr)), bytes_(o.bytes_), use_(o.use_) {}
  Counted& operator=(Counted&& o) noexcept {
    std::swap(budget_, o.budget_);
    std::swap(bytes_, o.bytes_);
    std::swap(use_, o.use_);
    return *this;
  }

 private:
  Budget* budget_ = nullptr;
  std::uint64_t bytes_ = 0;
  Use use_ = Use::kScratch;
};

// An aligned array of plain values, counted in a Budget for as long as it lives.
// Contents start as zero bytes.
template <class T>
class Buffer {
 public:
  static constexpr std::size_t kAlign = 64;
  Buffer() = default;
  Buffer(Budget& budget, std::size_t count, Use use, const char* what);
  ~Buffer() { reset(); }
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    if (this != &o) {
      reset();
      swap(o);
    }
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  bool empty() const { return count_ == 0; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + count_; }
  void reset() noexcept;
  void swap(Buffer& o) noexcept {
    std::swap(budget_, o.budget_);
    std::swap(data_, o.data_);
    std::swap(count_, o.count_);
    std::swap(use_, o.use_);
  }

 private:
  Budget* budget_ = nullptr;
  T* data_ = nullptr;
  std::size_t count_ = 0;
  Use use_ = Use::kScratch;
};

namespace detail {
void* take_aligned(Budget& budget, std::size_t count, std::size_t size, std::size_t align, Use use,
                   const char* what);
void give_aligned(Budget& budget, void* p, std::size_t bytes, std::size_t align, Use use) noexcept;
}  // namespace detail

template <class T>
Buffer<T>::Buffer(Budget& budget, std::size_t count, Use use, const char* what)
    : budget_(&budget), count_(count), use_(use) {
  if (count > 0)
    data_ = static_cast<T*>(detail::take_aligned(budget, count, sizeof(T), kAlign, use, what));
}

template <class T>
void Buffer<T>::reset() noexcept {
  if (data_ != nullptr) detail::give_aligned(*budget_, data_, bytes(), kAlign, use_);
  data_ = nullptr;
  count_ = 0;
}

}  // namespace v4i
