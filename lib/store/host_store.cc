// HostStore: least recently used, everything copied at once.
#include "lib/store/host_store.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::store {

void HostStore::begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                          std::uint64_t ticket) {
  const auto it = blocks_.find(key);
  if (it != blocks_.end()) {  // immutable: the bytes that are here are these bytes
    ages_.splice(ages_.end(), ages_, it->second.age);
    done_.push_back({ticket, Code::kOk, it->second.bytes.size()});
    return;
  }
  Buffer<std::byte> copy = make_room(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.begin());
  done_.push_back({ticket, Code::kOk, bytes.size()});
  ages_.push_back(key);
  blocks_.emplace(key, Entry{std::move(copy), std::prev(ages_.end())});
  used_ += bytes.size();
}

void HostStore::begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) {
  const auto it = blocks_.find(key);
  if (it == blocks_.end()) {
    done_.push_back({ticket, Code::kState, 0});
    return;
  }
  const Buffer<std::byte>& held = it->second.bytes;
  ages_.splice(ages_.end(), ages_, it->second.age);
  if (bytes.size() < held.size()) {
    done_.push_back({ticket, Code::kInvalid, held.size()});
    return;
  }
  std::copy_n(held.data(), held.size(), bytes.data());
  done_.push_back({ticket, Code::kOk, held.size()});
}

std::size_t HostStore::poll(std::span<Completion> out, std::uint64_t) {
  const std::size_t n = std::min(out.size(), done_.size());
  std::copy_n(done_.begin(), n, out.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(n));
  return n;  // nothing is ever under way between calls, so there is nothing to wait for
}

void HostStore::erase(const BlockKey& key) {
  const auto it = blocks_.find(key);
  if (it == blocks_.end()) return;
  used_ -= it->second.bytes.size();
  ages_.erase(it->second.age);
  blocks_.erase(it);
}

// Evicts until the block fits the capacity and the budget grants it.
Buffer<std::byte> HostStore::make_room(std::uint64_t bytes) {
  if (bytes > capacity_)
    fail(Code::kNoMemory, "a block of {} bytes does not fit a host store of {}", bytes, capacity_);
  while (used_ > capacity_ - bytes) evict_oldest();
  for (;;) {
    try {
      return {*budget_, static_cast<std::size_t>(bytes), Use::kKv, "a block of the host store"};
    } catch (const Error&) {
      if (ages_.empty()) throw;
      evict_oldest();
    }
  }
}

void HostStore::evict_oldest() {
  V4I_CHECK(!ages_.empty());
  const BlockKey oldest = ages_.front();
  erase(oldest);
  ++evictions_;
}

}  // namespace v4i::store
