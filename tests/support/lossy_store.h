// LossyStore: a BlockStore with one fault, to prove that a test would notice it.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::test {

enum class Fault {
  kNone,
  kLoseBlocks,       // every third put is forgotten: allowed, unless the store promises to keep
  kFlipBit,          // a bit of what was got is wrong
  kTornRead,         // the second half of what was got is missing
  kForeignBlock,     // a get returns the block put last, whatever its key
  kFoundNothing,     // a miss is reported as found
  kForgetTicket,     // every fifth ticket is never reported
  kRepeatTicket,     // every fifth ticket is reported twice
  kWrongTicket,      // every fifth ticket comes back as another one
  kEarlyReport,      // a get is reported one poll before its bytes are there
  kIgnoreErase,      // an erased block is still there
  kContainsNothing,  // contains() is always false
  kNoSize,           // completions say 0 bytes
  kOverrun,          // writes past the block into a larger buffer
  kPartialFill,      // a buffer that is too small is filled and reported as success
  kHideBytes,        // bytes_used() is always 0
  kReadLate,         // a put is reported before its bytes were read
  kShortKey,         // of a key only what stands before its first zero byte counts
  kNeverFull,        // a block larger than the store is accepted and forgotten
};

class LossyStore final : public store::BlockStore {
 public:
  LossyStore(std::unique_ptr<store::BlockStore> inner, Fault fault)
      : inner_(std::move(inner)), fault_(fault) {}

  void begin_put(const store::BlockKey& given, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override {
    const store::BlockKey key = shortened(given);
    last_key_ = key;
    if (fault_ == Fault::kReadLate) {
      puts_late_.push_back({key, bytes});
      made_up_.push_back({ticket, Code::kOk, bytes.size()});
      return;
    }
    if (fault_ == Fault::kLoseBlocks && ++puts_ % 3 == 0) {
      made_up_.push_back({ticket, Code::kOk, bytes.size()});
      return;
    }
    try {
      inner_->begin_put(key, bytes, ticket);
    } catch (const Error&) {
      if (fault_ != Fault::kNeverFull) throw;
      made_up_.push_back({ticket, Code::kOk, bytes.size()});
    }
  }

  void begin_get(const store::BlockKey& given, std::span<std::byte> bytes,
                 std::uint64_t ticket) override {
    const store::BlockKey key = shortened(given);
    read_late();
    if (fault_ == Fault::kEarlyReport) {
      held_.push_back(std::vector<std::byte>(bytes.size()));
      inner_->begin_get(key, held_.back(), ticket);
      gets_.push_back({ticket, bytes, held_.back().data()});
      return;
    }
    if (fault_ == Fault::kPartialFill) {
      held_.push_back(std::vector<std::byte>(1 << 16));
      inner_->begin_get(key, held_.back(), ticket);
      gets_.push_back({ticket, bytes, held_.back().data()});
      return;
    }
    const bool foreign = fault_ == Fault::kForeignBlock && last_key_ && inner_->contains(key);
    inner_->begin_get(foreign ? *last_key_ : key, bytes, ticket);
    gets_.push_back({ticket, bytes, nullptr});
  }

  std::size_t poll(std::span<store::Completion> out, std::uint64_t timeout_ns) override {
    for (const Get& late : late_) std::copy_n(late.from, late.bytes.size(), late.bytes.begin());
    late_.clear();
    std::vector<store::Completion> some(16);
    some.resize(inner_->poll(some, timeout_ns));
    for (const store::Completion& c : some) spoil(c);
    std::size_t n = 0;
    for (; n < out.size() && !made_up_.empty(); ++n) {
      out[n] = made_up_.front();
      made_up_.pop_front();
    }
    return n;
  }

  bool contains(const store::BlockKey& key) override {
    read_late();
    return fault_ != Fault::kContainsNothing && inner_->contains(shortened(key));
  }
  void erase(const store::BlockKey& key) override {
    read_late();
    if (fault_ != Fault::kIgnoreErase) inner_->erase(shortened(key));
  }
  std::uint64_t bytes_used() const override {
    return fault_ == Fault::kHideBytes ? 0 : inner_->bytes_used();
  }

 private:
  struct Get {
    std::uint64_t ticket;
    std::span<std::byte> bytes;
    const std::byte* from;
  };

  store::BlockKey shortened(store::BlockKey key) const {
    if (fault_ != Fault::kShortKey) return key;
    std::fill(std::find(key.bytes.begin(), key.bytes.end(), 0), key.bytes.end(), 0);
    return key;
  }
  void read_late() {
    for (const auto& [key, bytes] : puts_late_) {
      store::Completion c;
      try {
        inner_->begin_put(key, bytes, 0);
        inner_->poll({&c, 1}, 0);
      } catch (const Error&) {  // what does not fit is gone
      }
    }
    puts_late_.clear();
  }

  void spoil(store::Completion c) {
    std::optional<Get> get;
    for (std::size_t i = 0; i < gets_.size(); ++i)
      if (gets_[i].ticket == c.ticket) {
        get = gets_[i];
        gets_.erase(gets_.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
    if (get) spoil_get(*get, c);
    if (fault_ == Fault::kNoSize) c.bytes = 0;
    const bool fifth = ++reports_ % 5 == 0;
    if (fault_ == Fault::kForgetTicket && fifth) return;
    if (fault_ == Fault::kWrongTicket && fifth) c.ticket ^= 1ull << 40;
    made_up_.push_back(c);
    if (fault_ == Fault::kRepeatTicket && fifth) made_up_.push_back(c);
  }

  void spoil_get(const Get& get, store::Completion& c) {
    const bool found = c.status == Code::kOk && c.bytes > 0;
    if (fault_ == Fault::kFlipBit && found) get.bytes[c.bytes / 2] ^= std::byte{4};
    if (fault_ == Fault::kTornRead && found)
      std::fill(get.bytes.begin() + static_cast<std::ptrdiff_t>(c.bytes / 2),
                get.bytes.begin() + static_cast<std::ptrdiff_t>(c.bytes), std::byte{0});
    if (fault_ == Fault::kFoundNothing && c.status == Code::kState) c = {c.ticket, Code::kOk, 0};
    if (fault_ == Fault::kOverrun && found && get.bytes.size() > c.bytes)
      get.bytes[c.bytes] = std::byte{0xee};
    if (fault_ == Fault::kEarlyReport && found) late_.push_back(get);
    if (fault_ == Fault::kPartialFill && found)
      std::copy_n(get.from, std::min<std::size_t>(c.bytes, get.bytes.size()), get.bytes.begin());
  }

  std::unique_ptr<store::BlockStore> inner_;
  Fault fault_;
  std::uint64_t puts_ = 0, reports_ = 0;
  std::optional<store::BlockKey> last_key_;
  std::vector<Get> gets_, late_;
  std::vector<std::pair<store::BlockKey, std::span<const std::byte>>> puts_late_;
  std::deque<std::vector<std::byte>> held_;
  std::deque<store::Completion> made_up_;
};

}  // namespace v4i::test
