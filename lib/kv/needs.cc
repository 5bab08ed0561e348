// Counting rows, blocks and pages; see needs.h.
#include "lib/kv/needs.h"

#include <algorithm>

#include "lib/kv/prefix.h"
#include "lib/kv/state.h"

namespace v4i::kv {

namespace {

// Of one table of one sequence.
struct Table {
  std::uint64_t blocks = 0;  // that `tokens` tokens begin
  std::uint64_t final = 0;   // of these, sealed ones
  std::uint64_t open = 0;    // at most at a time, while a chunk is computed
  store::BlockShape shape;
};

std::uint64_t pages(std::uint64_t bytes) { return (bytes + store::kPage - 1) / store::kPage; }

Table table_of(const Layout& layout, const LayerLayout& l, bool index, std::uint64_t tokens,
               std::uint64_t chunk) {
  const auto per_block = static_cast<std::uint64_t>(layout.rows_per_block);
  const auto ratio = static_cast<std::uint64_t>(l.ratio);
  const auto rollback = static_cast<std::uint64_t>(layout.rollback);
  Table t;
  t.shape = store::rows_shape(layout.row_bytes(l, index), per_block);
  if (index || !layout.by_row(l)) t.shape.row_bytes = 0;
  t.blocks = (tokens / ratio + per_block - 1) / per_block;
  t.final = (tokens - std::min(tokens, rollback)) / ratio / per_block;
  t.open = std::min(t.blocks, (chunk + rollback) / ratio / per_block + 2);
  return t;
}

// body(table) for what layers have of their own.
template <class Body>
void for_each_table(const Layout& layout, std::uint64_t tokens, std::uint64_t chunk, Body&& body) {
  for (const LayerLayout& l : layout.layers)
    for (const bool index : {false, true})
      if (layout.row_bytes(l, index) > 0) body(table_of(layout, l, index, tokens, chunk));
}

const LayerLayout* first_by_row(const Layout& layout) {
  for (const LayerLayout& l : layout.layers)
    if (layout.by_row(l) && layout.row_bytes(l, false) > 0) return &l;
  return nullptr;
}

}  // namespace

Needs needs_of(const Layout& layout, std::uint64_t tokens, std::uint64_t chunk) {
  Needs n;
  const bool two = std::min(tokens, chunk) > static_cast<std::uint64_t>(layout.rollback);
  n.fixed = layout.fixed_bytes * (two ? 2 : 1);
  n.rows = n.rows_least = Prefix::most_bytes(tokens);
  for_each_table(layout, tokens, chunk, [&](const Table& t) {
    const std::uint64_t all = t.blocks * t.shape.bytes,
                        books = t.final * store::Block::kBookkeeping;
    n.rows += all + books;
    n.rows_least +=
        books + (t.shape.by_row() ? std::min(t.open, t.blocks) * t.shape.bytes +
                                        t.final * t.shape.rows() * store::RowCache::kSetBytes
                                  : all);
    n.stored += t.final * pages(t.shape.stored_bytes()) * store::kPage;
  });
  const std::uint64_t snapshot = pages(layout.fixed_bytes + sizeof(std::uint64_t)) * store::kPage;
  if (tokens >= static_cast<std::uint64_t>(State::kSnapshotStep))
    n.stored += State::most_snapshots(n.rows, snapshot) * snapshot;
  return n;
}

std::uint64_t wave_needs(const Layout& layout) {
  const LayerLayout* l = first_by_row(layout);
  if (l == nullptr) return 0;
  constexpr std::uint64_t kSlab = store::RowCache::kSlabRows;
  const std::size_t row = layout.row_bytes(*l, false);
  const std::uint64_t slabs = (static_cast<std::uint64_t>(layout.row_reads) + kSlab - 1) / kSlab;
  const auto shape = store::rows_shape(row, static_cast<std::size_t>(layout.rows_per_block));
  return slabs * store::RowCache::slab_bytes(row) +
         store::BlockCache::kLeastTransfers * shape.stored_bytes();
}

RowReads reads_of(const Layout& layout, std::uint64_t tokens) {
  RowReads out;
  const auto recent = std::min(tokens, static_cast<std::uint64_t>(layout.window));
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    const LayerLayout& l = layout.layers[i];
    out.memory += recent * layout.window_row.bytes();
    if (l.ratio == 0) continue;
    std::uint64_t rows = tokens / static_cast<std::uint64_t>(l.ratio);
    if (l.index_keys) out.memory += rows * layout.key.bytes();
    if (l.index_keys && layout.row_reads > 0)
      rows = std::min(rows, static_cast<std::uint64_t>(layout.row_reads));
    out.memory += rows * layout.main_row.bytes();
    if (layout.by_row(l)) out.single_rows += rows;
  }
  return out;
}

}  // namespace v4i::kv
