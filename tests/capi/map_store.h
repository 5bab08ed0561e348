// MapStore: a KV store of a host program, with the ways in which such stores go wrong.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <v4infer/kv_store.hpp>
#include <vector>

namespace v4i::test {

// What it holds outlives it, as a server's memory does.
struct MapBlocks {
  std::map<std::array<std::uint8_t, 32>, std::vector<char>> blocks;
  std::uint64_t puts = 0, gets = 0, parts = 0, closed = 0, open_at_close = 0, called = 0;
};

enum class Manner {
  kGood,
  kThrow,         // begin_put() and begin_get() throw
  kThrowAlways,   // everything throws
  kThrowNumber,   // not an exception that has a text
  kOddStatus,     // begin_get() returns -77
  kOddDone,       // completions have status 5
  kTooMany,       // poll() says that it filled more than there is room for
  kUnknown,       // poll() reports tickets that nobody has
  kTwice,         // poll() reports every ticket again
  kLargeGet,      // gets report more bytes than there was room for
  kPollFails,     // poll() fails every other time
  kFlipBits,      // what comes back is damaged
  kForgets,       // nothing is there any more
  kFull,          // every put is refused
  kNeverReports,  // nothing is reported
};
inline constexpr int kManners = static_cast<int>(Manner::kNeverReports) + 1;

class MapStore final : public v4infer::CustomKvStore {
 public:
  explicit MapStore(std::shared_ptr<MapBlocks> to, Manner manner = Manner::kGood)
      : to_(std::move(to)), manner_(manner) {}
  ~MapStore() override {
    ++to_->closed;
    to_->open_at_close += done_.size();
  }

  std::function<void()> inside;  // called in every function
  bool parts = false;
  std::uint64_t capacity = 0;

  const char* name() const override { return "map"; }
  std::uint64_t capacity_bytes() const override { return capacity; }
  bool reads_parts() const override { return parts; }

  v4i_status begin_put(const v4i_kv_key& k, const void* data, std::uint64_t bytes,
                       std::uint64_t ticket) override {
    called(true);
    if (manner_ == Manner::kFull) return V4I_E_NO_MEMORY;
    ++to_->puts;
    const char* p = static_cast<const char*>(data);
    to_->blocks[name_of(k)] = std::vector<char>(p, p + bytes);
    return report(ticket, V4I_OK, bytes);
  }

  v4i_status begin_get(const v4i_kv_key& k, void* data, std::uint64_t bytes,
                       std::uint64_t ticket) override {
    called(true);
    ++to_->gets;
    if (manner_ == Manner::kOddStatus) return -77;
    const auto it = to_->blocks.find(name_of(k));
    if (it == to_->blocks.end() || manner_ == Manner::kForgets)
      return report(ticket, V4I_E_STATE, 0);
    const std::vector<char>& held = it->second;
    if (held.size() > bytes) return report(ticket, V4I_E_INVALID, held.size());
    std::memcpy(data, held.data(), held.size());
    if (manner_ == Manner::kFlipBits && !held.empty()) static_cast<char*>(data)[0] ^= 1;
    return report(ticket, V4I_OK, manner_ == Manner::kLargeGet ? bytes + 1 : held.size());
  }

  v4i_status begin_get_part(const v4i_kv_key& k, std::uint64_t at, void* data, std::uint64_t bytes,
                            std::uint64_t ticket) override {
    called(true);
    ++to_->parts;
    const auto it = to_->blocks.find(name_of(k));
    if (it == to_->blocks.end() || at + bytes > it->second.size())
      return report(ticket, V4I_E_STATE, 0);
    std::memcpy(data, it->second.data() + at, bytes);
    return report(ticket, V4I_OK, bytes);
  }

  v4i_status poll(v4i_kv_done* done, std::size_t cap, std::size_t* count, std::uint64_t) override {
    called(false);
    if (manner_ == Manner::kNeverReports) return V4I_OK;
    if (manner_ == Manner::kPollFails && ++polls_ % 2 == 0) return V4I_E_IO;
    const std::size_t n = std::min(cap, done_.size());
    std::copy_n(done_.begin(), n, done);
    if (!(manner_ == Manner::kTwice && !again_))
      done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(n));
    again_ = !again_;
    *count = manner_ == Manner::kTooMany ? cap + 3 : n;
    if (manner_ == Manner::kUnknown && n < cap) {
      done[n] = {1'000'000'000, V4I_OK, 0, 0};
      ++*count;
    }
    return V4I_OK;
  }

  v4i_status contains(const v4i_kv_key& k, bool* yes) override {
    called(false);
    *yes = to_->blocks.count(name_of(k)) > 0;
    return V4I_OK;
  }
  v4i_status erase(const v4i_kv_key& k) override {
    called(false);
    to_->blocks.erase(name_of(k));
    return V4I_OK;
  }

 private:
  static std::array<std::uint8_t, 32> name_of(const v4i_kv_key& k) {
    std::array<std::uint8_t, 32> name;
    std::memcpy(name.data(), k.bytes, name.size());
    return name;
  }
  void called(bool begin) {
    ++to_->called;
    if (inside) inside();
    if (manner_ == Manner::kThrowAlways || (manner_ == Manner::kThrow && begin))
      throw std::runtime_error("the rack has no power");
    if (manner_ == Manner::kThrowNumber && begin) throw 7;
  }
  v4i_status report(std::uint64_t ticket, v4i_status status, std::uint64_t bytes) {
    done_.push_back({ticket, manner_ == Manner::kOddDone ? 5 : status, 0, bytes});
    return V4I_OK;
  }

  std::shared_ptr<MapBlocks> to_;
  Manner manner_;
  std::uint64_t polls_ = 0;
  bool again_ = false;
  std::deque<v4i_kv_done> done_;
};

}  // namespace v4i::test
