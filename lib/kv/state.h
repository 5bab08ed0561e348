// State: the KV state of one sequence, a value that can be forked, cut and saved.
//
//   growing    compressed rows and index keys, in BlockTables
//   fixed      window rings and partial compressor states, one piece of memory
//   snapshots  the fixed state and the open rows at some earlier multiples of 128 tokens, so
//              that a deep rewind, a lost block or another session recomputes little
//
// A chunk of n tokens is written between begin() and commit().  It writes only where nobody reads:
// rows beyond length(), ring slots that the rollback margin keeps free or, for longer chunks, a
// second fixed state.  commit() shows what was written; abort() forgets it.
//
// Rows are addresses in the cache's memory: its backend reads and writes them, while a Lease on
// their layer lives.
//
// One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/hash.h"
#include "lib/kv/block_table.h"
#include "lib/kv/layout.h"
#include "lib/kv/lease.h"
#include "lib/kv/prefix.h"
#include "lib/store/block_cache.h"

namespace v4i::kv {

enum class RowKind : int { kMain = 0, kIndex = 1 };

using WriteBytes = std::function<void(const void*, std::size_t)>;
using ReadBytes = std::function<void(void*, std::size_t)>;  // throws when bytes are missing

class State {
 public:
  // Tokens between places where a snapshot may be taken.
  static constexpr std::int64_t kSnapshotStep = Prefix::kLink;
  // How many of `snapshot` bytes are kept where a store keeps them: about 3 % of the `rows` bytes.
  static std::uint64_t most_snapshots(std::uint64_t rows, std::uint64_t snapshot);

  // `seed` names what the rows depend on besides the tokens: the model's digest,
  // the numerics, the backend.  Block keys are chained from it and from the layout.
  // `layout` is finished.  Error(kNoMemory) when the fixed state does not fit.
  State(std::shared_ptr<const Layout> layout, store::BlockCache& cache, const Digest& seed);
  State(State&&) noexcept;
  State& operator=(State&&) noexcept;
  ~State();

  const Layout& layout() const { return *layout_; }
  store::BlockCache& cache() const { return *cache_; }
  std::int64_t length() const { return length_; }
  // Bytes this state holds of the Budget; what is shared counts in every holder.
  std::uint64_t bytes() const;
  std::uint64_t stored_bytes() const;  // of its rows, those that the store below has

  // Ids of tokens, those of a chunk that has begun included; what stands for a medium.
  const Prefix& prefix() const { return prefix_; }

  // ---- while a chunk is computed
  // Makes room for `tokens` (their ids, and the media they stand for, name the blocks they
  // complete).  One token allocates nothing but the block, and now and then the list piece, that
  // it opens.  Error(kNoMemory): the state is as before, at most without its snapshots.  LostRows.
  void begin(std::span<const std::int32_t> tokens, std::span<const Media> media = {});
  // Of a position before the chunk, in the last `window`.
  const std::byte* window_row(int layer, std::int64_t position) const;
  std::byte* new_window_row(int layer, std::int64_t position);  // of one of the chunk's
  // partial_width, then index_width floats: of a position before the chunk, and of the chunk.
  const float* partial(int layer, std::int64_t position) const;
  float* new_partial(int layer, std::int64_t position);
  // Rows that `layer` reads, its own or another layer's; `row` may be one of the chunk.
  const std::byte* row(int layer, RowKind kind, std::int64_t row) const;
  std::byte* new_row(int layer, RowKind kind, std::int64_t row);
  // Brings over what the chunk did not write, before commit(); may throw an error of the memory,
  // and then abort() is the way.
  void close();
  void commit();
  // The room for direct rewinds may shrink by the length of a chunk within the rollback margin.
  void abort() noexcept;

  // ---- between chunks
  // The longest length <= `length` that can be had without recomputing: `length`
  // itself within the rollback margin, else the nearest snapshot, else 0.
  std::int64_t rewind_target(std::int64_t length) const;
  // To a value of rewind_target(); shorter when the store has lost the snapshot that leads there.
  void rewind(std::int64_t length);
  // How far the tokens go whose rows are all there or elsewhere: less than length() when blocks
  // are lost.  Asks the store below.
  std::int64_t usable_length() const;
  // A chunk of `tokens`, behind which `left` tokens of the prompt follow (kNoEnd: it does not
  // matter), that makes the best use of snapshots: at most `tokens`, less when a snapshot is due
  // that the whole chunk would step over, or when the prompt should be there for other processes,
  // through the store below, to its end.
  static constexpr std::int64_t kNoEnd = std::int64_t{1} << 40;
  std::int64_t chunk_length(std::int64_t tokens, std::int64_t left);
  // For an empty state: takes up the longest prefix of `tokens` that another session, or another
  // process through the store below, has left whole.  Returns its length, a multiple of 128.
  // Cancelled while it waits for a store, it takes up nothing.
  std::int64_t take_up(std::span<const std::int32_t> tokens, const CancelFlag* cancel = nullptr,
                       std::span<const Media> media = {});
  State fork() const;  // shares sealed blocks, copies the fixed state and open blocks

  // Everything needed to continue bit for bit, except the ids of the tokens and the media they
  // stand for: the caller keeps those.  save() throws LostRows when blocks are lost, possibly after
  // it has written.  restore() replaces this state; whatever is wrong with the bytes or with
  // `tokens` is an Error(kFormat) and leaves this state as it was.
  void save(const WriteBytes& write) const;
  void restore(const ReadBytes& read, std::span<const std::int32_t> tokens,
               std::span<const Media> media = {});

  // Between keep_blocks(1) and keep_blocks(-1) blocks of this state leave memory after all others.
  void keep_blocks(int by);

  // ---- for Lease and RowWave
  // Those that have to be in memory as a whole.
  void layer_blocks(int layer, std::vector<store::BlockRef>* out) const;
  bool settle(int layer, std::uint64_t evictions);
  BlockTable& main_rows(int layer) { return table_of(layer, RowKind::kMain); }
  const BlockTable& main_rows(int layer) const { return table_of(layer, RowKind::kMain); }

 private:
  struct Snapshot {
    std::int64_t length = 0;
    store::BlockRef block;
    bool prompt_end = false;  // stays in the store below for others when it is wanted no more here
  };
  State(std::shared_ptr<const Layout> layout, store::BlockCache& cache, Prefix prefix);
  static std::size_t table_index(int layer, RowKind kind) {
    return static_cast<std::size_t>(layer) * 2 + static_cast<std::size_t>(kind);
  }
  BlockTable& table_of(int layer, RowKind kind);  // that `layer` reads
  const BlockTable& table_of(int layer, RowKind kind) const;
  std::size_t window_at(int layer, std::int64_t position) const;
  std::size_t partial_at(int layer, std::int64_t position) const;
  store::Slot& written() { return next_.empty() ? fixed_ : next_; }  // by the chunk
  std::int64_t rows(std::size_t table, std::int64_t length) const;
  std::int64_t ratio(std::size_t table) const { return layout_->layers[table / 2].ratio; }
  // body(row, n): rows [first, those that `length` tokens complete) of a table, block by block.
  template <class Body>
  void in_blocks(std::size_t table, std::int64_t first, std::int64_t length, Body&& body) const {
    const std::int64_t per_block = layout_->rows_per_block, end = rows(table, length);
    for (std::int64_t r = first, n = 0; r < end; r += n)
      body(r, n = std::min(end, (r / per_block + 1) * per_block) - r);
  }
  // The first row behind a table's final blocks.
  std::int64_t open_row(std::size_t table, std::int64_t length) const {
    return final_blocks(table, length) * layout_->rows_per_block;
  }
  // Blocks of a table that rollback cannot reach at `length` any more.
  std::int64_t final_blocks(std::size_t table, std::int64_t length) const;
  store::BlockKey block_key(std::size_t table, std::int64_t block) const;
  void make_room(std::int64_t tokens, std::size_t media);
  void carry_ring(std::size_t offset, std::size_t slot_bytes, int slots, std::int64_t end);
  void trim_tables() noexcept;
  void seal_final_blocks();

  // ---- snapshot.cc
  static constexpr std::int64_t kFirstSnapshot = 512;  // tokens between snapshots, at the start
  static constexpr std::size_t kMaxSnapshots = 8;
  std::size_t max_snapshots() const;
  bool snapshot_due(std::int64_t before, std::int64_t length) const;
  store::BlockKey snapshot_key(std::int64_t length) const;
  std::size_t snapshot_bytes(std::int64_t length) const;
  void remember();
  void thin_snapshots();
  // The snapshot that rewind(length) starts from; null when none leads there.
  const Snapshot* source(std::int64_t length) const;
  bool read_fixed(const Snapshot& s);  // into the fixed state; false when it is lost
  void take_over(std::int64_t length, const std::byte* snapshot);
  // All blocks and the snapshot of a prefix, or nothing.
  bool take_up_at(std::int64_t length, const CancelFlag* cancel);

  void save_table(std::size_t table, const WriteBytes& write) const;
  void restore_table(std::size_t table, const ReadBytes& read);
  std::size_t fixed_begin(std::size_t layer) const;  // of its part of the fixed state

  std::shared_ptr<const Layout> layout_;
  store::BlockCache* cache_;
  std::int64_t length_ = 0, pending_ = 0;
  // Ring slots hold nothing older than high_ - slots: the highest position that may
  // have been written since the fixed state was last put back.  high_ - length_ <=
  // rollback, always.
  std::int64_t high_ = 0;
  store::Slot fixed_;
  store::Slot next_;                 // what commit() puts in its place, for long chunks
  std::vector<BlockTable> tables_;   // [layers][2]
  Prefix prefix_;                    // tokens [0, length_ + pending_)
  std::vector<Snapshot> snapshots_;  // rising lengths
  std::int64_t snapshot_every_;
  std::int64_t prompt_end_ = 0;  // where a snapshot is wanted besides
  int keeping_ = 0;
  std::vector<store::BlockRef> kept_;  // while keeping_ > 0
};

}  // namespace v4i::kv
