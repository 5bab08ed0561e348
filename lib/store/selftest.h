// What every BlockStore must do, built in or brought by a host program, as a test that may run
// against a store in use: its keys are made from a seed, and it erases its blocks.
//
//   lost       a confirmed block is found, with its bytes, and contains() agrees
//   corrupt    keys that differ in one byte, also in zero bytes, name different blocks
//   erased     an erased block is gone, others are not; what was never put is a miss
//   twice      a block that is put again is there once
//   reordered  many puts and gets at a time, each reported once and under its ticket
//   late       no buffer is read or written after its ticket was reported
//   partial    buffers of other sizes: kInvalid and untouched, or untouched behind the block
//   parts      where the store reads parts: parts of blocks, and none behind the end
//   closed     work that nobody asks after for a while is reported, so that close() may follow
//   full       three times the capacity, and a block larger than it
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::store {

struct SelftestOptions {
  std::uint64_t seed = 0;
  // Bytes, at least 64 KiB.  0: not known, and "full" is left out.
  std::uint64_t capacity = 0;
  bool keeps_what_fits = true;  // a cache need not
  // Nobody else uses the store and nothing was in it: bytes_used() is checked too.
  bool alone = true;
};

struct SelftestResult {
  // A sentence for each check that failed, with its name in front; empty when the store passes.
  std::vector<std::string> failed;
  // Buffers of work that was never reported: the store may use them for as long as it lives.
  std::vector<std::vector<std::byte>> in_use;
};

SelftestResult selftest(BlockStore& store, const SelftestOptions& options);

}  // namespace v4i::store
