// Rows on their way into and out of attention: norm of heads, rotary positions, stored forms,
// and the pooling that makes compressed rows.  Spec 2.1, 2.4 to 2.7 and 4.3.
//
// Elementwise but for a norm's sum, whose order is that of ops.h: every table gives the same
// bits.  Pooling and swiglu have an exp, which differs by table.
#pragma once

#include <cstdint>

#include "lib/tensor/row_form.h"

namespace v4i::kernels {

// `count` heads of one token, one after the other; the last `rope` channels are rotary.
struct HeadsArgs {
  float* x;  // [count, dim], in place
  std::int64_t count;
  int dim, rope;         // rope at most kMaxRope
  const float* cos_sin;  // see rope() of ops.h
  float eps;             // of query_heads
  bool native;           // round as the model was trained
  bool plain = false;    // V4.1: query_heads without the norm, index_heads without Hadamard
};
constexpr int kMaxRope = 512;

// One KV row of a packed form: quantises its channels, see pack_row() of quant.h.
struct PackArgs {
  const float* x;
  int dim, rope;
  std::uint8_t* out;
  RowForm form = RowForm::kFp8Rope16;
};

// One compressed row, channels [begin, end):
//   out = sum_i softmax_i(gate[i]) value[i],  gate[i] = value[i] + gate_offset floats
struct PoolArgs {
  const float* const* value;  // [count]
  int count;
  std::int64_t gate_offset, begin, end;
  float* out;
};

// y = fp8_sim(x) of quant.h; y may be x.
struct QuantiseArgs {
  const float* x;
  float* y;
  std::int64_t n, block;
};

// gate = swiglu(gate, up) of ops.h, rounded to bf16 when native.
struct SwigluArgs {
  float* gate;
  const float* up;
  std::int64_t n;
  float limit, weight;
  bool native;
};

// The residual streams [count, width] of one token, channels [begin, end).  Spec 2.3.
constexpr int kMaxStreams = 16;
struct StreamsArgs {
  float* streams;
  int count;
  std::int64_t width, begin, end;
  bool native;  // round to bf16
};
// x[c] = sum_i pre[i] streams[i, c], i rising
struct CollapseArgs {
  StreamsArgs s;
  const float* pre;
  float* x;
};
// streams[k, c] <- post[k] out[c] + sum_j comb[j, k] streams[j, c], j rising
struct MixArgs {
  StreamsArgs s;
  const float *out, *post, *comb;
};

}  // namespace v4i::kernels
