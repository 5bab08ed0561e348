// HeldStore: a BlockStore in memory whose work is done when the test says so.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::test {

class HeldStore final : public store::BlockStore {
 public:
  // Does the oldest `n` pieces of work that were begun; poll() reports them.
  void work(std::size_t n) {
    for (; n > 0 && !begun_.empty(); --n) {
      done_.push_back(begun_.front()());
      begun_.pop_front();
    }
  }
  std::size_t begun() const { return begun_.size(); }
  bool works_alone = false;  // every poll does everything
  bool parts = false;
  std::uint64_t polls = 0;
  std::function<void()>* when_called = nullptr;  // from inside of every begin_put()

  void begin_put(const store::BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override {
    if (when_called != nullptr) (*when_called)();
    begun_.emplace_back([=, this] {
      blocks_[key.bytes].assign(bytes.begin(), bytes.end());
      return store::Completion{ticket, Code::kOk, bytes.size()};
    });
  }
  void begin_get(const store::BlockKey& key, std::span<std::byte> bytes,
                 std::uint64_t ticket) override {
    begun_.emplace_back([=, this] { return get(key, 0, bytes, ticket, true); });
  }
  bool reads_parts() const override { return parts; }
  void begin_get_part(const store::BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override {
    begun_.emplace_back([=, this] { return get(key, at, bytes, ticket, false); });
  }
  std::size_t poll(std::span<store::Completion> out, std::uint64_t) override {
    ++polls;
    if (works_alone) work(begun_.size());
    const std::size_t n = std::min(out.size(), done_.size());
    std::copy_n(done_.begin(), n, out.begin());
    done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }
  bool contains(const store::BlockKey& key) override { return blocks_.contains(key.bytes); }
  void erase(const store::BlockKey& key) override { blocks_.erase(key.bytes); }
  std::uint64_t bytes_used() const override {
    std::uint64_t total = 0;
    for (const auto& [key, bytes] : blocks_) total += bytes.size();
    return total;
  }

 private:
  store::Completion get(const store::BlockKey& key, std::uint64_t at, std::span<std::byte> to,
                        std::uint64_t ticket, bool whole) const {
    const auto it = blocks_.find(key.bytes);
    if (it == blocks_.end()) return {ticket, Code::kState, 0};
    const std::vector<std::byte>& held = it->second;
    if (whole && to.size() < held.size()) return {ticket, Code::kInvalid, held.size()};
    if (!whole && at + to.size() > held.size()) return {ticket, Code::kState, 0};
    const std::size_t n = whole ? held.size() : to.size();
    std::copy_n(held.begin() + static_cast<std::ptrdiff_t>(at), n, to.begin());
    return {ticket, Code::kOk, n};
  }

  std::map<std::array<std::uint8_t, 32>, std::vector<std::byte>> blocks_;
  std::deque<std::function<store::Completion()>> begun_;
  std::deque<store::Completion> done_;
};

}  // namespace v4i::test
