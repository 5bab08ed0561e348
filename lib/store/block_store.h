// BlockStore: where immutable blocks live.  The interface every tier implements,
// the host's own tiers (v4i_kv_vtable) included.
//
// A block is immutable and named by the hash of everything that produced it: same
// key, same bytes, for ever.  That is the whole consistency story.  A store may
// lose blocks (a miss costs time); it must never return a block it did not get.
//
// begin_*() start work and never block; `ticket` names it and the bytes stay valid
// until poll() reports the ticket.  Calls into one store are serialised by its
// caller.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "lib/base/error.h"

namespace v4i::store {

struct BlockKey {
  std::array<std::uint8_t, 32> bytes{};
  bool operator==(const BlockKey&) const = default;
};

struct BlockKeyHash {  // a key is already a hash
  std::size_t operator()(const BlockKey& k) const {
    std::size_t h;
    std::memcpy(&h, k.bytes.data(), sizeof h);
    return h;
  }
};

struct Completion {
  std::uint64_t ticket = 0;
  Code status = Code::kOk;  // kState: not found
  std::uint64_t bytes = 0;
};

struct StoreStats {
  std::uint64_t blocks = 0, bytes = 0;  // that it holds; 0 blocks also where it does not count them
  std::uint64_t evictions = 0;          // blocks or files of blocks that left for want of room
  std::uint64_t errors = 0;             // reads and writes that failed, damaged blocks
};

class BlockStore {
 public:
  virtual ~BlockStore() = default;

  // Both throw Error when the work cannot even be started (kNoMemory: a put finds the store full,
  // a get no room in the Budget, so that it is asked again when less is under way); then
  // the ticket is never reported.  A put of a key that is there may keep the block
  // that is there.  A get completes with kOk and the size of the block; kState when
  // there is none; kInvalid and the size wanted when `bytes` is too small.  Bytes of
  // a buffer beyond the block are left alone; so is the whole of it without kOk, unless
  // the block was there and came damaged.
  virtual void begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                         std::uint64_t ticket) = 0;
  virtual void begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) = 0;
  // Waits at most `timeout_ns`, then reports what finished, in any order.  Returns
  // how many entries of `out` it filled; 0 is normal.
  virtual std::size_t poll(std::span<Completion> out, std::uint64_t timeout_ns) = 0;
  virtual bool contains(const BlockKey& key) = 0;

  // Stores that can read a part of a block are asked for what is needed of it; others for the
  // whole.
  virtual bool reads_parts() const { return false; }
  // Bytes [at, at + bytes.size()) of a block.  Completes like begin_get(), with the number of
  // bytes read; kState also when the block ends before.
  virtual void begin_get_part(const BlockKey&, std::uint64_t /*at*/, std::span<std::byte>,
                              std::uint64_t /*ticket*/) {
    fail(Code::kUnsupported, "this store reads whole blocks only");
  }

  virtual void erase(const BlockKey& key) = 0;
  // The same, of a block that came back with other bytes, for stores that count them.
  virtual void erase_damaged(const BlockKey& key) { erase(key); }
  virtual std::uint64_t bytes_used() const = 0;
  virtual StoreStats stats() const { return {.bytes = bytes_used()}; }
};

}  // namespace v4i::store
