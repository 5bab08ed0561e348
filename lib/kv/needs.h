// Needs: how many bytes the KV state of a sequence takes, before there is one.
//
// What State takes of the Budget, at most, and what a store below it is given to keep.  Snapshots
// are left out of the first: they are taken where there is room.
#pragma once

#include <cstdint>

#include "lib/kv/layout.h"

namespace v4i::kv {

struct Needs {
  std::uint64_t fixed = 0;  // windows and partial states; a second one for chunks beyond rollback
  std::uint64_t rows = 0;   // compressed rows, index keys, the list of token ids
  // The same with a store below: without rows that may be elsewhere, with the lists of these.
  std::uint64_t rows_least = 0;
  std::uint64_t stored = 0;  // of the store, snapshots included
};

// Of one sequence of `tokens`, computed in chunks of `chunk` at most.
Needs needs_of(const Layout& layout, std::uint64_t tokens, std::uint64_t chunk);

// Of all sequences together, with a store below: a wave of single rows, and transfers.
std::uint64_t wave_needs(const Layout& layout);

// KV bytes that attention reads for one token behind `tokens` others.
struct RowReads {
  std::uint64_t memory = 0;       // all of them
  std::uint64_t single_rows = 0;  // of rows that may be elsewhere, their number
};
RowReads reads_of(const Layout& layout, std::uint64_t tokens);

}  // namespace v4i::kv
