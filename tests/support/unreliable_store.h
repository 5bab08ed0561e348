// UnreliableStore: a BlockStore in memory that loses, delays, damages and refuses blocks by seed.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::test {

class UnreliableStore final : public store::BlockStore {
 public:
  // Chances in a hundred, of each put or get.
  struct Chances {
    unsigned forget = 0;  // a put that is confirmed and forgotten
    unsigned damage = 0;  // a get with a flipped bit
    unsigned fail = 0;    // a get that completes with kIo
    unsigned refuse = 0;  // a put or get that cannot be started
    unsigned delay = 0;   // a report that comes some polls later
  };
  UnreliableStore(std::uint32_t seed, const Chances& chances, bool parts = false)
      : random_(seed), chances_(chances), parts_(parts) {}

  std::uint64_t parts_read = 0;
  std::uint64_t forgotten = 0, damaged = 0, failed = 0, refused = 0, delayed = 0;
  std::size_t blocks() const { return blocks_.size(); }

  void begin_put(const store::BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override {
    if (chance(chances_.refuse, &refused)) fail(Code::kNoMemory, "the store is full, by chance");
    if (!chance(chances_.forget, &forgotten))
      blocks_[key.bytes] = std::vector<std::byte>(bytes.begin(), bytes.end());
    report({ticket, Code::kOk, bytes.size()});
  }

  void begin_get(const store::BlockKey& key, std::span<std::byte> bytes,
                 std::uint64_t ticket) override {
    get(key, 0, bytes, ticket, false);
  }
  bool reads_parts() const override { return parts_; }
  void begin_get_part(const store::BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override {
    ++parts_read;
    get(key, at, bytes, ticket, true);
  }
  std::size_t poll(std::span<store::Completion> out, std::uint64_t) override {
    std::size_t n = 0;
    for (std::size_t i = reports_.size(); i > 0; --i) {
      Report r = reports_.front();
      reports_.pop_front();
      if (r.polls > 0 || n == out.size())
        reports_.push_back({r.completion, std::max(0, r.polls - 1)});
      else
        out[n++] = r.completion;
    }
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
  void get(const store::BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
           std::uint64_t ticket, bool part) {
    if (chance(chances_.refuse, &refused)) fail(Code::kIo, "the store is away, by chance");
    const auto it = blocks_.find(key.bytes);
    if (it == blocks_.end()) return report({ticket, Code::kState, 0});
    if (chance(chances_.fail, &failed)) return report({ticket, Code::kIo, 0});
    const std::size_t whole = it->second.size(), n = part ? bytes.size() : whole;
    if (part && (at > whole || n > whole - at)) return report({ticket, Code::kState, 0});
    if (bytes.size() < n) return report({ticket, Code::kInvalid, n});
    std::copy_n(it->second.begin() + static_cast<std::ptrdiff_t>(at), n, bytes.begin());
    if (chance(chances_.damage, &damaged)) bytes[random_() % n] ^= std::byte{16};
    report({ticket, Code::kOk, n});
  }
  struct Report {
    store::Completion completion;
    int polls = 0;  // before it is told
  };
  bool chance(unsigned percent, std::uint64_t* count) {
    const bool hit = random_() % 100 < percent;
    *count += hit ? 1 : 0;
    return hit;
  }
  void report(store::Completion c) {
    reports_.push_back({c, chance(chances_.delay, &delayed) ? static_cast<int>(random_() % 5) : 0});
  }

  std::mt19937 random_;
  Chances chances_;
  bool parts_;
  std::map<std::array<std::uint8_t, 32>, std::vector<std::byte>> blocks_;
  std::deque<Report> reports_;
};

}  // namespace v4i::test
