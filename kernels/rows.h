// Rows on their way into and out of attention: norm of heads, rotary positions, stored forms,
// and the pooling that makes compressed rows.  Spec 2.1, 2.4 to 2.7 and 4.3.
//
// Elementwise but for a norm's sum, whose order is that of ops.h: every table gives the same
// bits.  Pooling has an exp, which differs by table.
#pragma once

#include <cstdint>

namespace v4i::kernels {

// `count` heads of one token, one after the other; the last `rope` channels are rotary.
struct HeadsArgs {
  float* x;  // [count, dim], in place
  std::int64_t count;
  int dim, rope;         // rope at most kMaxRope
  const float* cos_sin;  // see rope() of ops.h
  float eps;             // of query_heads
  bool native;           // round as the model was trained
};
constexpr int kMaxRope = 512;

// One KV row: quantises channels by fp8_sim(64) and packs them, see pack_row() of quant.h.
struct PackArgs {
  const float* x;
  int dim, rope;
  std::uint8_t* out;
};

// One compressed row, channels [begin, end):
//   out = sum_i softmax_i(gate[i]) value[i],  gate[i] = value[i] + gate_offset floats
struct PoolArgs {
  const float* const* value;  // [count]
  int count;
  std::int64_t gate_offset, begin, end;
  float* out;
};

}  // namespace v4i::kernels
