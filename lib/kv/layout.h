// Layout: how many bytes of KV state each layer keeps, and in which form.
//
// Spec 4.  Per layer: a ring of recent KV rows (sliding window), the compressor's
// inputs of recent tokens (partial state), and rows that grow with the context.
// Every ring is addressed by absolute position modulo its slots and is larger than
// the model needs by `rollback` tokens, so that taking back up to `rollback`
// tokens is setting the length; nothing was overwritten (spec 4.4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/base/hash.h"
#include "lib/tensor/row_form.h"

namespace v4i::kv {

struct RowFormat {
  int dim = 0, rope = 0;
  RowForm form = RowForm::kFloat32;
  std::size_t bytes() const;
};

// A stored index key of `dim` channels.
//   packed: dim / 2 e2m1 pairs, low nibble first | ceil(dim / 32) ue8m0 (128: 68 bytes)
//   else:   dim float32
struct KeyFormat {
  int dim = 0;
  bool packed = false;
  std::size_t bytes() const;
};

struct LayerLayout {
  int ratio = 0;  // tokens per compressed row, 0: window only
  int partial_slots =
      0;  // tokens of compressor input kept: ratio (2 * ratio with overlap) + rollback
  int partial_width = 0;  // floats per slot: values then gates of the main compressor ...
  int index_width = 0;    // ... then values and gates of the indexer's; 0 without one
  bool index_keys = false;
  // The layers whose rows and keys this one reads: itself by default (-1), else it has none of its
  // own (V4.1).
  int main_from = -1, index_from = -1;
  // Byte offsets in the fixed state of a session.
  std::size_t window_offset = 0, partial_offset = 0;

  std::size_t partial_floats() const;  // per slot
};

struct Layout {
  RowFormat window_row, main_row;
  KeyFormat key;
  int window = 0;        // rows the model looks back, the current one included
  int rollback = 0;      // tokens that can be taken back by setting the length
  int window_slots = 0;  // window + rollback
  int rows_per_block = 64;
  // Rows that a token reads at most of a layer with index keys, where the backend can have them one
  // by one (RowWave); 0: it needs all rows of a layer in memory.
  int row_reads = 0;
  std::vector<LayerLayout> layers;
  std::size_t fixed_bytes = 0;  // windows and partial states of all layers

  // Fills the offsets and fixed_bytes from the rest.  Error(kInvalid) when a number
  // is out of range.
  void finish();
  // Of one growing row of `l`: compressed row or index key; 0 when there is none.
  std::size_t row_bytes(const LayerLayout& l, bool index) const;
  // Bytes that a sequence of `tokens` holds: fixed state and whole blocks.
  std::uint64_t bytes(std::uint64_t tokens) const;
  // Growing bytes per token, the average over whole blocks.
  double bytes_per_token() const;
  // The rows of `l` may be in memory one by one, while its index keys are all there.
  bool by_row(const LayerLayout& l) const { return row_reads > 0 && l.index_keys; }
  // Of every number that decides what the bytes of a state mean, where they lie apart.
  Digest digest() const;
  // The layer whose rows or keys `layer` reads.
  int source(int layer, bool index) const {
    const LayerLayout& l = layers[static_cast<std::size_t>(layer)];
    const int from = index ? l.index_from : l.main_from;
    return from < 0 ? layer : from;
  }

 private:
  void check_source(int source, std::size_t layer, int ratio, bool index) const;
};

}  // namespace v4i::kv
