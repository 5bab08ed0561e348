// What happens to a row (a KV row, an index key, a head of an indexer's query) between its product
// and its stored form.  A row lies in shared memory as float32; the functions are called by all
// lanes of a warp.  Where several warps share a row, each passes its number and their count.
//
// No function waits for other warps: the caller puts __syncthreads() between steps of a row that
// several warps share.  The results are those of kernels/ops.h and kernels/quant.h, bit by bit.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/turn.cuh"

namespace v4i::kernels::cuda {

// The warps that work on a row.
struct Warps {
  int index, count;
  V4I_DEVICE int first_channel() const { return index * 32 + lane(); }
  V4I_DEVICE int step() const { return count * 32; }
};

// sum_squares() of ops.h, in its order: 16 sums, then folded.  Every lane gets it.
V4I_DEVICE float sum_squares(const float* x, int n) {
  float sum = 0;
  for (int i = lane() % 16; i < n; i += 16) sum = __fadd_rn(sum, __fmul_rn(x[i], x[i]));
  for (int half = 8; half > 0; half /= 2) sum = __fadd_rn(sum, shuffle_xor(sum, half));
  return sum;
}

// rms_scale() of ops.h.
V4I_DEVICE float rms_scale(const float* x, int n, float eps) {
  return 1.0f / sqrtf(sum_squares(x, n) / static_cast<float>(n) + eps);
}

V4I_DEVICE float rounded(float x, bool native) { return native ? round_bf16(x) : x; }

// Turns the pair (x[0], x[1]) by an angle, as rope() of ops.h; sine negated: the other way.
V4I_DEVICE void turn_pair(float* x, Turn turn, bool native) {
  const float a = x[0], b = x[1];
  x[0] = rounded(__fsub_rn(__fmul_rn(a, turn.cosine), __fmul_rn(b, turn.sine)), native);
  x[1] = rounded(__fadd_rn(__fmul_rn(a, turn.sine), __fmul_rn(b, turn.cosine)), native);
}

// The last `rope` channels of a row, by a table: rope / 2 cosines, then rope / 2 sines.
V4I_DEVICE void turn_tail(float* x, int dim, int rope, const float* cos_sin, bool native,
                          Warps warps) {
  for (int i = warps.first_channel(); i < rope / 2; i += warps.step())
    turn_pair(x + dim - rope + 2 * i, {cos_sin[i], cos_sin[rope / 2 + i]}, native);
}

// The same at a position that no table has; frequency[rope / 2].
V4I_DEVICE void turn_tail_at(float* x, int dim, int rope, const float* frequency, int64_t position,
                             bool native, Warps warps) {
  for (int i = warps.first_channel(); i < rope / 2; i += warps.step())
    turn_pair(x + dim - rope + 2 * i, turn_at(position, frequency[i]), native);
}

// n^-0.5 of a power of two, as hadamard() of quant.h has it.
V4I_DEVICE float hadamard_scale(int n) {
  float scale = 1.0f;
  for (; n >= 4; n /= 4) scale *= 0.5f;
  return n == 2 ? scale * 0.707106769084930419921875f : scale;
}

// hadamard() of quant.h by one warp; n is a power of two.
V4I_DEVICE void hadamard(float* x, int n) {
  for (int h = 1; h < n; h *= 2) {
    warp_barrier();
    for (int i = lane(); i < n / 2; i += 32) {
      const int low = (i / h) * 2 * h + i % h;
      const float a = x[low], b = x[low + h];
      x[low] = a + b;
      x[low + h] = a - b;
    }
  }
  warp_barrier();
  const float scale = hadamard_scale(n);
  for (int i = lane(); i < n; i += 32) x[i] *= scale;
  warp_barrier();
}

// The largest magnitude of x[begin, end), at most 64 channels.  Every lane gets it.
V4I_DEVICE float largest_of(const float* x, int begin, int end) {
  float largest = 0;
  for (int i = begin + lane(); i < end; i += 32) largest = fmaxf(largest, fabsf(x[i]));
  return warp_max(largest);
}

// pack_row() of quant.h; the bytes of the row behind the last scale become zero.
V4I_DEVICE void pack_row(const float* x, int dim, int rope, uint8_t* out, int row_bytes,
                         Warps warps) {
  const int plain = dim - rope, blocks = (plain + 63) / 64;
  uint8_t* scales = out + plain + 2 * rope;
  for (int b = warps.index; b < blocks; b += warps.count) {
    const int begin = b * 64, end = begin + 64 < plain ? begin + 64 : plain;
    const int exponent = fp8_exponent(largest_of(x, begin, end));
    for (int i = begin + lane(); i < end; i += 32) out[i] = fp8_code(x[i], exponent);
    if (lane() == 0) scales[b] = static_cast<uint8_t>(exponent + 127);
  }
  for (int i = warps.first_channel(); i < rope; i += warps.step()) {
    const unsigned code = encode_bf16(x[plain + i]);
    out[plain + 2 * i] = static_cast<uint8_t>(code);
    out[plain + 2 * i + 1] = static_cast<uint8_t>(code >> 8);
  }
  for (int i = plain + 2 * rope + blocks + warps.first_channel(); i < row_bytes; i += warps.step())
    out[i] = 0;
}

// pack_key() of quant.h; dim is even.
V4I_DEVICE void pack_key(const float* x, int dim, uint8_t* out, Warps warps) {
  for (int b = warps.index; b * 32 < dim; b += warps.count) {
    const int begin = b * 32, end = begin + 32 < dim ? begin + 32 : dim;
    const int exponent = fp4_exponent(largest_of(x, begin, end));
    for (int i = begin + 2 * lane(); i < end; i += 64)
      out[i / 2] =
          static_cast<uint8_t>(fp4_code(x[i], exponent) | fp4_code(x[i + 1], exponent) << 4);
    if (lane() == 0) out[dim / 2 + b] = static_cast<uint8_t>(exponent + 127);
  }
}

// fp4_sim(32) of quant.h in place, by one warp.
V4I_DEVICE void quantise_fp4(float* x, int dim) {
  for (int begin = 0; begin < dim; begin += 32) {
    const int i = begin + lane();
    const float value = i < dim ? x[i] : 0.0f;
    const float largest = warp_max(fabsf(value));
    if (i < dim) x[i] = fp4_sim(value, largest);
  }
  warp_barrier();
}

// A row as float32, whole.
V4I_DEVICE void copy_row(const float* x, int dim, float* out, Warps warps) {
  for (int i = warps.first_channel(); i < dim; i += warps.step()) out[i] = x[i];
}

}  // namespace v4i::kernels::cuda
