// State: the KV state of one sequence, a value that can be forked, cut and saved.
//
//   growing  compressed rows and index keys, in BlockTables (blocks of 2^k rows)
//   fixed    window rings and partial compressor states, one piece of memory
//   history  copies of the fixed state at some earlier positions (checkpoints), so
//            that a deep rewind recomputes little
//
// A chunk of n tokens is written between begin(n) and commit(): rows may be read
// back at once, but length() moves only in commit(), and abort() restores exactly
// what was before begin().
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/hash.h"
#include "lib/kv/block_table.h"
#include "lib/kv/layout.h"
#include "lib/store/tier_stack.h"

namespace v4i::kv {

enum class RowKind : int { kMain = 0, kIndex = 1 };

using WriteBytes = std::function<void(const void*, std::size_t)>;
using ReadBytes = std::function<void(void*, std::size_t)>;  // throws when bytes are missing

class State {
 public:
  // `seed` names what the rows depend on besides the tokens: the model's digest,
  // the numerics, the kernels.  Block keys are chained from it.
  State(std::shared_ptr<const Layout> layout, store::TierStack& store, const Digest& seed);
  State(State&&) noexcept;
  State& operator=(State&&) noexcept;
  ~State();

  const Layout& layout() const { return *layout_; }
  std::int64_t length() const { return length_; }
  // Bytes this state holds; shared blocks count in every holder.
  std::uint64_t bytes() const;

  // ---- while a chunk is computed
  // Makes room for `tokens` (their ids name the blocks they complete).
  void begin(std::span<const std::int32_t> tokens);
  std::byte* window_row(int layer, std::int64_t position);
  const std::byte* window_row(int layer, std::int64_t position) const;
  float* partial(int layer, std::int64_t position);  // partial_width then index_width floats
  const float* partial(int layer, std::int64_t position) const;
  std::byte* new_row(int layer, RowKind kind, std::int64_t row);
  const std::byte* row(int layer, RowKind kind, std::int64_t row) const;
  void commit();
  void abort() noexcept;

  // ---- between chunks
  // The longest length <= `length` that can be had without recomputing: `length`
  // itself within the rollback margin, else the nearest checkpoint, else 0.
  std::int64_t rewind_target(std::int64_t length) const;
  void rewind(std::int64_t length);  // to a value of rewind_target()
  State fork() const;  // shares sealed blocks, copies the fixed state and open blocks

  // Everything needed to continue bit for bit.  restore() replaces this state;
  // it checks sizes and checksums and throws Error(kFormat).
  void save(const WriteBytes& write) const;
  void restore(const ReadBytes& read, std::span<const std::int32_t> tokens);

 private:
  struct Checkpoint {
    std::int64_t length = 0;
    std::shared_ptr<const Buffer<std::byte>> fixed;
  };
  BlockTable& table(int layer, RowKind kind);
  const BlockTable& table(int layer, RowKind kind) const;
  store::BlockKey block_key(int layer, RowKind kind, std::int64_t first_row) const;
  void seal_full_blocks();
  void remember();

  std::shared_ptr<const Layout> layout_;
  store::TierStack* store_;
  Digest seed_;
  std::int64_t length_ = 0, pending_ = 0;
  Buffer<std::byte> fixed_, undo_;
  std::vector<BlockTable> tables_;      // [layers][2]
  std::vector<Digest> prefix_;          // hash chain, one link per kLink tokens
  std::vector<std::int32_t> tail_;      // tokens after the last link
  std::vector<Checkpoint> checkpoints_; // rising lengths
  std::int64_t checkpoint_every_;
};

}  // namespace v4i::kv
