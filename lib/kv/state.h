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
#include "lib/kv/prefix.h"
#include "lib/store/tier_stack.h"

namespace v4i::kv {

enum class RowKind : int { kMain = 0, kIndex = 1 };

using WriteBytes = std::function<void(const void*, std::size_t)>;
using ReadBytes = std::function<void(void*, std::size_t)>;  // throws when bytes are missing

class State {
 public:
  // `seed` names what the rows depend on besides the tokens: the model's digest,
  // the numerics, the kernels.  Block keys are chained from it and from the layout.
  // `layout` is finished.  Error(kNoMemory) when the fixed state does not fit.
  State(std::shared_ptr<const Layout> layout, store::TierStack& store, const Digest& seed);
  State(State&&) noexcept;
  State& operator=(State&&) noexcept;
  ~State();

  const Layout& layout() const { return *layout_; }
  std::int64_t length() const { return length_; }
  // Bytes this state holds of the Budget; what is shared counts in every holder.
  std::uint64_t bytes() const;

  // ---- while a chunk is computed
  // Makes room for `tokens` (their ids name the blocks they complete).  One token
  // allocates nothing but the block, and now and then the list piece, that it opens.
  // Error(kNoMemory): the state is as before, at most without its checkpoints.
  void begin(std::span<const std::int32_t> tokens);
  std::byte* window_row(int layer, std::int64_t position);
  const std::byte* window_row(int layer, std::int64_t position) const;
  float* partial(int layer, std::int64_t position);  // partial_width then index_width floats
  const float* partial(int layer, std::int64_t position) const;
  std::byte* new_row(int layer, RowKind kind, std::int64_t row);
  const std::byte* row(int layer, RowKind kind, std::int64_t row) const;
  void commit();
  // Chunks longer than the rollback margin are undone from a copy.  Shorter ones
  // overwrote only rows outside the window; the room for direct rewinds shrinks by
  // their length.
  void abort() noexcept;

  // ---- between chunks
  // The longest length <= `length` that can be had without recomputing: `length`
  // itself within the rollback margin, else the nearest checkpoint, else 0.
  std::int64_t rewind_target(std::int64_t length) const;
  void rewind(std::int64_t length);  // to a value of rewind_target()
  State fork() const;                // shares sealed blocks, copies the fixed state and open blocks

  // Everything needed to continue bit for bit, except the ids of the tokens: the
  // caller keeps those.  restore() replaces this state; whatever is wrong with the
  // bytes or with `tokens` is an Error(kFormat) and leaves this state as it was.
  void save(const WriteBytes& write) const;
  void restore(const ReadBytes& read, std::span<const std::int32_t> tokens);

 private:
  // The fixed state as it was at `length`; its rings had been written up to `high`.
  struct Checkpoint {
    std::int64_t length = 0, high = 0;
    std::shared_ptr<const Buffer<std::byte>> fixed;
  };
  State(std::shared_ptr<const Layout> layout, store::TierStack& store, Prefix prefix);
  BlockTable& table(int layer, RowKind kind) { return tables_[table_index(layer, kind)]; }
  const BlockTable& table(int layer, RowKind kind) const {
    return tables_[table_index(layer, kind)];
  }
  static std::size_t table_index(int layer, RowKind kind) {
    return static_cast<std::size_t>(layer) * 2 + static_cast<std::size_t>(kind);
  }
  std::size_t window_at(int layer, std::int64_t position) const;
  std::size_t partial_at(int layer, std::int64_t position) const;
  std::int64_t rows(std::size_t table, std::int64_t length) const;
  store::BlockKey block_key(std::size_t table, std::int64_t block) const;
  void make_room(std::int64_t tokens);
  void trim_tables() noexcept;
  void seal_full_blocks();
  void remember();
  void thin_checkpoints();
  // The checkpoint that rewind(length) starts from; null when none leads there.
  const Checkpoint* source(std::int64_t length) const;
  void save_table(std::size_t table, const WriteBytes& write) const;
  void restore_table(std::size_t table, const ReadBytes& read);

  std::shared_ptr<const Layout> layout_;
  store::TierStack* store_;
  std::int64_t length_ = 0, pending_ = 0;
  // Ring slots hold nothing older than high_ - slots: the highest position that may
  // have been written since the fixed state was last put back.  high_ - length_ <=
  // rollback, always.
  std::int64_t high_ = 0;
  Buffer<std::byte> fixed_;
  Buffer<std::byte> undo_;               // fixed_ as begin() found it, for long chunks
  std::vector<BlockTable> tables_;       // [layers][2]
  Prefix prefix_;                        // tokens [0, length_ + pending_)
  std::vector<Checkpoint> checkpoints_;  // rising lengths
  std::int64_t checkpoint_every_;
};

}  // namespace v4i::kv
