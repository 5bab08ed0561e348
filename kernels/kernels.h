// KernelTable: one pointer per operation.
//
// Kernels are pure functions on plain pointers.  They allocate nothing, throw
// nothing, keep no state, never change the floating-point environment and are right
// under flush-to-zero.  The scalar table is the definition; every other table is
// tested against it.  Within one table a result depends on its own inputs only: an
// output element has the same bits whatever else is in the same call.
#pragma once

#include "kernels/attention.h"
#include "kernels/indexer.h"
#include "kernels/linear.h"
#include "kernels/rows.h"

namespace v4i::kernels {

struct KernelTable {
  const char* name;
  void (*linear)(const LinearArgs&);
  void (*linear_int8)(const LinearArgs&);  // null: this table has none
  void (*attention)(const AttentionArgs&);
  bool (*dense_attention)(const DenseAttentionArgs&);  // false: a logit is no finite number
  void (*index_scores)(const IndexArgs&);
  // Row operations: the same bits in every table, but for pool and swiglu.
  void (*query_heads)(const HeadsArgs&);   // norm without a weight, then rope
  void (*output_heads)(const HeadsArgs&);  // inverse rope
  void (*index_heads)(const HeadsArgs&);   // rope; native: Hadamard, fp4_sim(32)
  void (*store_row)(const PackArgs&);
  void (*pool)(const PoolArgs&);
  void (*quantise)(const QuantiseArgs&);
  void (*swiglu)(const SwigluArgs&);
  void (*collapse)(const CollapseArgs&);
  void (*mix_back)(const MixArgs&);
  // With bf16_x, a code or scale of fp8 or fp4 that is no number makes the results of its row none.
  bool nan_codes;
  // The tokens of a call of linear or linear_int8 in the form that it multiplies, for calls that
  // differ in their rows alone; without, each makes its own.  `part` of `parts` of them goes into
  // its place in `out`, linear_prepared_bytes.  Null: this table has no such form.
  void (*prepare)(const LinearArgs&, int part, int parts, void* out);
  void (*prepare_int8)(const LinearArgs&, int part, int parts, void* out);
};

// The best table that runs here, or the one named by `forced`; null when that name
// is unknown or cannot run on this processor.
const KernelTable* select_kernels(const char* forced);
// Tables that run here, best first; returns how many, writes at most `cap`.
int available_kernels(const KernelTable** out, int cap);

}  // namespace v4i::kernels
