// Probe: what the checks of selftest.cc do with a store, and what they have found.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/store/block_store.h"
#include "lib/store/selftest.h"

namespace v4i::store::detail {

using Bytes = std::vector<std::byte>;
inline constexpr std::byte kUntouched{0xa5};

class Probe {
 public:
  Probe(BlockStore& store, std::uint64_t seed, bool keeps)
      : store_(store), seed_(seed), keeps_(keeps) {}

  BlockStore& store() { return store_; }
  bool keeps() const { return keeps_; }

  // Runs a check under its name; afterwards the blocks that it has put are erased.
  void check(const char* name, const std::function<void()>& body);
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> text, Args&&... args) {
    if (!ok) wrong(fmt::format(text, std::forward<Args>(args)...));
  }
  SelftestResult take() { return std::move(result_); }

  // Of this check alone.
  BlockKey key(std::uint64_t n) const;
  Bytes block(std::uint64_t n, std::size_t bytes) const;
  // Buffers for the store live until the end of the check, longer where it may still use them.
  Bytes& keep(Bytes buffer) { return buffers_.emplace_back(std::move(buffer)); }

  std::uint64_t begin_put(const BlockKey& key, std::span<const std::byte> bytes);
  std::uint64_t begin_get(const BlockKey& key, std::span<std::byte> bytes);
  std::uint64_t begin_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes);
  // Polls for `at_once` reports at a time until every ticket was reported; each must be one of
  // these, and once.
  std::map<std::uint64_t, Completion> wait(std::vector<std::uint64_t> tickets, std::size_t at_once);
  void no_more_reports();

  Completion put(std::uint64_t n, std::size_t bytes);
  // Gets block n into a buffer of `room` bytes and checks everything that is promised; was it
  // found?
  bool get(std::uint64_t n, std::size_t bytes, std::size_t room);
  bool get(const BlockKey& key, const Bytes& want, std::size_t room);

 private:
  void wrong(std::string text);
  void collect(std::size_t at_once, std::uint64_t timeout_ns);

  BlockStore& store_;
  std::uint64_t seed_, check_ = 0;
  bool keeps_;
  std::string name_, first_;                   // of the check; its first failure
  std::size_t failures_ = 0, unreported_ = 0;  // in this check
  bool patient_ = true;
  std::vector<BlockKey> put_;
  std::uint64_t ticket_ = 1000;
  std::vector<std::uint64_t> tickets_;        // under way in wait()
  std::map<std::uint64_t, Completion> seen_;  // of these
  std::deque<Bytes> buffers_;
  SelftestResult result_;
};

}  // namespace v4i::store::detail
