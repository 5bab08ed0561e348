// Memory: where a backend keeps KV rows, and the only way to touch them from outside of it.
//
// Addresses of a Memory may be read and written by its backend alone: a device's, or the host's.
// Everybody else copies through these calls, which return when the bytes are there, in order with
// the work of the backend's executors; a device may throw Error(kDevice).
//
// Any thread.
#pragma once

#include <cstddef>
#include <utility>

#include "lib/base/budget.h"
#include "lib/store/slabs.h"

namespace v4i::store {

class Memory {
 public:
  virtual ~Memory() = default;

  virtual Place place() const = 0;
  virtual Budget& budget() = 0;
  // Zeroed, aligned to 64; taken from the Budget as place(), Use::kKv.  Error(kNoMemory) naming
  // `what`.
  virtual std::byte* allocate(std::size_t bytes, const char* what) = 0;
  // Called under a lock of the cache: it must not wait for long.
  virtual void release(std::byte* p, std::size_t bytes) noexcept = 0;

  virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0;  // inside it
  virtual void upload(std::byte* to, const void* from, std::size_t bytes) = 0;     // from the host
  virtual void download(void* to, const std::byte* from, std::size_t bytes) = 0;   // to the host
};

// The host's own, granted by the Budget.
class HostMemory final : public Memory {
 public:
  explicit HostMemory(Budget& budget) : budget_(&budget) {}
  Place place() const override { return Place::kHost; }
  Budget& budget() override { return *budget_; }
  std::byte* allocate(std::size_t bytes, const char* what) override;
  void release(std::byte* p, std::size_t bytes) noexcept override;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void upload(std::byte* to, const void* from, std::size_t bytes) override;
  void download(void* to, const std::byte* from, std::size_t bytes) override;

 private:
  bool in_slabs(std::size_t bytes) const;
  Budget* budget_;
  Slabs slabs_;
};

// Bytes of a Memory, given back when it goes.
class Slot {
 public:
  Slot() = default;
  Slot(Memory& memory, std::size_t bytes, const char* what)
      : memory_(&memory), data_(memory.allocate(bytes, what)), bytes_(bytes) {}
  ~Slot() { reset(); }
  Slot(Slot&& o) noexcept { swap(o); }
  Slot& operator=(Slot&& o) noexcept {
    if (this != &o) {
      reset();
      swap(o);
    }
    return *this;
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  Memory& memory() const { return *memory_; }
  void reset() noexcept {
    if (bytes_ != 0) memory_->release(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }
  void swap(Slot& o) noexcept {
    std::swap(memory_, o.memory_);
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
  }

 private:
  Memory* memory_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Are two pieces of a memory equal?  Both are read through the host.
bool same_bytes(Memory& memory, const std::byte* a, const std::byte* b, std::size_t bytes);

}  // namespace v4i::store
