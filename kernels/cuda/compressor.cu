// Compressed rows; see compressor.h.
#include "kernels/cuda/compressor.h"
#include "kernels/cuda/row.cuh"

namespace v4i::kernels::cuda {

namespace {

V4I_DEVICE int part_width(const CompressorArgs& a, const CompressorPart& part) {
  return a.overlap != 0 ? 2 * part.dim : part.dim;
}

// The floats of a token at `position`, of the sequence of `token` and not after it: staged, or in
// the ring that earlier runs filled.
V4I_DEVICE const float* partial_at(const CompressorArgs& a, const Token& token, int64_t position) {
  if (position >= token.start) {
    const int64_t row = token.row - (token.position - position);
    return a.partial + row * a.floats;
  }
  const uint8_t* ring = a.sequence[token.sequence].fixed + a.partial_offset;
  return reinterpret_cast<const float*>(ring) + position % a.partial_slots * a.floats;
}

// Where the values of the candidates of row `row` are: the block before it with the first half of
// its channels, in CSA layers, then its own tokens.  Returns how many there are.
V4I_DEVICE int find_candidates(const CompressorArgs& a, const CompressorPart& part,
                               const Token& token, int64_t row, const float** value) {
  const int before = a.overlap != 0 && row > 0 ? a.ratio : 0, count = before + a.ratio;
  const int64_t first = row * a.ratio - before;
  const int own = part.slot + (a.overlap != 0 ? part.dim : 0);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    value[i] = partial_at(a, token, first + i) + (i < before ? part.slot : own);
  return count;
}

// Softmax over the gates of one channel, as far as it has come.
struct Pool {
  float top = -INFINITY, total = 0, sum = 0;

  // `count` more candidates, at most 8: values and gates are loaded before any is used.
  V4I_DEVICE void add(const float* const* value, int count, int channel, int gate_offset) {
    float v[8], g[8], highest = top;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i >= count) break;
      v[i] = value[i][channel];
      g[i] = value[i][channel + gate_offset];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (i < count) highest = fmaxf(highest, g[i]);
    const float scale = expf(top - highest);
    total *= scale;
    sum *= scale;
    top = highest;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i >= count) break;
      const float e = expf(g[i] - top);
      total = __fadd_rn(total, e);
      sum = fmaf(e, v[i], sum);
    }
  }
};

V4I_DEVICE float pool(const float* const* value, int count, int channel, int gate_offset) {
  Pool p;
  int i = 0;
  for (; i + 8 <= count; i += 8) p.add(value + i, 8, channel, gate_offset);
  if (i < count) p.add(value + i, count - i, channel, gate_offset);
  return p.sum / p.total;
}

// Norm and rotary positions of a pooled row, by all warps of the block.
V4I_DEVICE void finish(const CompressorArgs& a, const CompressorPart& part, float* x,
                       int64_t position, Warps warps) {
  const bool native = a.native != 0;
  const float scale = rms_scale(x, part.dim, a.eps);
  __syncthreads();
  for (int c = warps.first_channel(); c < part.dim; c += warps.step())
    x[c] = rounded(part.gain[c] * (x[c] * scale), native);
  __syncthreads();
  turn_tail_at(x, part.dim, a.rope, a.frequency, position, native, warps);
  __syncthreads();
}

V4I_DEVICE void store(const CompressorArgs& a, const CompressorPart& part, bool key, float* x,
                      uint8_t* out, Warps warps) {
  if (a.native == 0) {
    copy_row(x, part.dim, reinterpret_cast<float*>(out), warps);
  } else if (!key) {
    pack_row(x, part.dim, a.rope, out, part.rows.row_bytes, warps);
  } else if (warps.index == 0) {
    hadamard(x, part.dim);
    for (int c = lane(); c < part.dim; c += 32) x[c] = round_bf16(x[c]);
    warp_barrier();
    pack_key(x, part.dim, out, {0, 1});
  }
}

}  // namespace

// Blocks: token.
V4I_KERNEL(v4i_add_ape, CompressorArgs, kApeThreads, 1) {
  const Token& token = a.token[blockIdx.x];
  for (int p = 0; p < a.parts; ++p) {
    const CompressorPart& part = a.part[p];
    const int width = part_width(a, part);
    const float* ape = part.ape + token.position % a.ratio * width;
    float* gate = a.partial + int64_t{token.row} * a.floats + part.slot + width;
    for (int c = static_cast<int>(threadIdx.x); c < width; c += static_cast<int>(kApeThreads))
      gate[c] = gate[c] + ape[c];
  }
}

// Blocks: token, part.  Shared memory: candidates, then the row.
V4I_KERNEL(v4i_compress, CompressorArgs, kCompressThreads, 1) {
  const Token token = a.token[blockIdx.x];
  if ((token.position + 1) % a.ratio != 0) return;
  const CompressorPart& part = a.part[blockIdx.y];
  const int64_t row = token.position / a.ratio;
  const Warps warps = {warp(), static_cast<int>(kCompressThreads) / 32};
  const int most = a.ratio * (a.overlap != 0 ? 2 : 1);
  auto** value = reinterpret_cast<const float**>(shared_memory());
  float* x = reinterpret_cast<float*>(value + most);

  const int count = find_candidates(a, part, token, row, value);
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < part.dim; c += static_cast<int>(kCompressThreads))
    x[c] = rounded(pool(value, count, c, part_width(a, part)), a.native != 0);
  __syncthreads();
  finish(a, part, x, row * a.ratio, warps);

  const BlockTable& table = part.rows;
  const int64_t block = table.first[token.sequence] + row / table.rows_per_block;
  uint8_t* out = table.block[block] + row % table.rows_per_block * table.row_bytes;
  store(a, part, blockIdx.y == 1, x, out, warps);
}

}  // namespace v4i::kernels::cuda
