// Attention without tensor cores: float32 rows, and packed rows of any shape.  See attention.h.
#include "kernels/cuda/attention.cuh"

namespace v4i::kernels::cuda {

namespace {

constexpr int kWarps = kAttentionPlainThreads / 32;

// What a block of one head has in shared memory.
struct Head {
  uint64_t* row;  // [32] addresses of the tile's rows
  float* logit;   // [32], then
  float* weight;  // [32]
  float* q;       // [dim]
  float* o;       // [dim]
};

V4I_DEVICE Head head_of(const SparseAttentionArgs& a) {
  Head h;
  h.row = reinterpret_cast<uint64_t*>(shared_memory());
  h.logit = reinterpret_cast<float*>(h.row + kAttentionTileRows);
  h.weight = h.logit + kAttentionTileRows;
  h.q = h.weight + kAttentionTileRows;
  h.o = h.q + a.dim;
  return h;
}

V4I_DEVICE float value_of(const SparseAttentionArgs& a, uint64_t address, int c) {
  const uint8_t* row = reinterpret_cast<const uint8_t*>(address);
  if (a.native == 0) return reinterpret_cast<const float*>(row)[c];
  const int plain = a.dim - a.rope;
  if (c < plain) return fp8_value(row[c]) * ue8m0_value(row[plain + 2 * a.rope + c / 64]);
  const uint8_t* code = row + plain + 2 * (c - plain);
  return decode_bf16(static_cast<uint16_t>(code[0] | code[1] << 8));
}

// Logits of a tile of `count` rows, each by one warp.
V4I_DEVICE void multiply_keys(const SparseAttentionArgs& a, const Head& h, int count) {
  for (int i = warp(); i < count; i += kWarps) {
    float dot = 0;
    for (int c = lane(); c < a.dim; c += 32) dot = fmaf(h.q[c], value_of(a, h.row[i], c), dot);
    dot = warp_sum(dot);
    if (lane() == 0) h.logit[i] = __fmul_rn(dot, a.scale);
  }
}

// The tile's weights by warp 0; every warp keeps the softmax.  Returns what earlier sums are
// multiplied with.
V4I_DEVICE float add_logits(const SparseAttentionArgs& a, const Head& h, int count,
                            Softmax& softmax) {
  const float logit = lane() < count ? h.logit[lane()] : -INFINITY;
  const float top = fmaxf(softmax.top, warp_max(logit));
  const float p = expf(logit - top), by = expf(softmax.top - top);
  softmax = {top, fmaf(softmax.total, by, warp_sum(p))};
  if (warp() == 0) h.weight[lane()] = rounded(p, a.native != 0);
  return by;
}

V4I_DEVICE void add_values(const SparseAttentionArgs& a, const Head& h, int count, float by) {
  for (int c = static_cast<int>(threadIdx.x); c < a.dim; c += kAttentionPlainThreads) {
    float sum = __fmul_rn(h.o[c], by);
    for (int i = 0; i < count; ++i) sum = fmaf(h.weight[i], value_of(a, h.row[i], c), sum);
    h.o[c] = sum;
  }
}

}  // namespace

V4I_KERNEL(v4i_attention_plain, SparseAttentionArgs, kAttentionPlainThreads, 1) {
  const int head = static_cast<int>(blockIdx.x), t = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const bool native = a.native != 0;
  const Head h = head_of(a);
  const Candidates rows = candidates_of(a, t);
  const int64_t at = (static_cast<int64_t>(t) * a.heads + head) * a.dim;
  for (int c = thread; c < a.dim; c += kAttentionPlainThreads) {
    h.q[c] = a.q[at + c];
    h.o[c] = 0;
  }
  Softmax softmax;
  for (int begin = 0; begin < rows.rows; begin += kAttentionTileRows) {
    const int left = rows.rows - begin;
    const int count = left < kAttentionTileRows ? left : kAttentionTileRows;
    if (thread < count) h.row[thread] = reinterpret_cast<uint64_t>(rows.row(a, begin + thread));
    __syncthreads();
    multiply_keys(a, h, count);
    __syncthreads();
    const float by = add_logits(a, h, count, softmax);
    __syncthreads();
    add_values(a, h, count, by);
    __syncthreads();
  }
  const float total = total_of(softmax, a.sink[head]);
  const int plain = a.dim - a.rope, half = a.rope / 2;
  for (int c = thread; c < plain; c += kAttentionPlainThreads)
    a.out[at + c] = rounded(h.o[c] / total, native);
  const float* turn = a.cos_sin + static_cast<int64_t>(t) * a.rope;
  for (int i = thread; i < half; i += kAttentionPlainThreads) {
    float* pair = a.out + at + plain + 2 * i;
    pair[0] = rounded(h.o[plain + 2 * i] / total, native);
    pair[1] = rounded(h.o[plain + 2 * i + 1] / total, native);
    turn_pair(pair, {turn[i], -turn[half + i]}, native);
  }
}

}  // namespace v4i::kernels::cuda
