// Products of the experts with the tokens that chose them, and the gate between; see experts.h.
#include "kernels/cuda/experts.h"
#include "kernels/cuda/kernel.cuh"
#include "kernels/cuda/product_few.cuh"
#include "kernels/cuda/product_float.cuh"
#include "kernels/cuda/product_many.cuh"
#include "kernels/cuda/quantise.cuh"

namespace v4i::kernels::cuda {

// The slots of the group of blockIdx.y.
struct Group {
  int expert, begin, size;
};

// Size 0: there is no such group.
V4I_DEVICE Group group_of_block(const ExpertProductsArgs& a) {
  const int i = static_cast<int>(blockIdx.y);
  if (i >= *a.groups.active_count) return {0, 0, 0};
  const int expert = a.groups.active[i], begin = a.groups.begin[expert];
  return {expert, begin, a.groups.begin[expert + 1] - begin};
}

// Some slots of a group, and the rows of blockIdx.x, `rows` of them at most.  Data null: the expert
// is not here.
V4I_DEVICE Slab slab_of(const ExpertProductsArgs& a, const Group& group, int rows, int first,
                        int count) {
  const int per_matrix = (a.w.rows + rows - 1) / rows;
  const int block = static_cast<int>(blockIdx.x), i = block < per_matrix ? 0 : 1;
  const ExpertPlace& place = a.places[group.expert];
  const int64_t slot = group.begin + first;
  Slab s;
  s.data = place.data[a.matrix[i]];
  s.scale = place.scale[a.matrix[i]];
  s.begin = (block - i * per_matrix) * rows;
  s.end = min(s.begin + rows, a.w.rows);
  s.x = a.by_token != 0 ? a.x : a.x + slot * a.w.cols;
  s.x_stride = a.w.cols;
  s.x_row = a.by_token != 0 ? a.groups.slot_token + slot : nullptr;
  s.y = a.y[i] + slot * a.w.rows;
  s.y_stride = a.w.rows;
  s.tokens = count;
  s.round = a.round != 0;
  return s;
}

template <int N>
V4I_DEVICE void experts_few(const ExpertProductsArgs& a) {
  const Group group = group_of_block(a);
  if (group.size == 0 || group.size > a.few_tokens) return;
  const Slab s = slab_of(a, group, a.plan.tiles * kRowTile, 0, group.size);
  if (s.data != nullptr) multiply_few<N>(a.w, s, a.plan, a.few_tokens);
}

}  // namespace v4i::kernels::cuda

using namespace v4i::kernels;
using namespace v4i::kernels::cuda;

V4I_KERNEL(v4i_experts_few, ExpertProductsArgs, 256, 2) { experts_few<1>(a); }

V4I_KERNEL(v4i_experts_few16, ExpertProductsArgs, 256, 2) { experts_few<2>(a); }

V4I_KERNEL(v4i_experts_many, ExpertProductsArgs, 256, 1) {
  const Group group = group_of_block(a);
  if (group.size <= a.few_tokens) return;
  const int first = static_cast<int>(blockIdx.z) * kManyTokens;
  if (first >= group.size) return;
  const Slab s =
      slab_of(a, group, static_cast<int>(blockDim.x), first, min(group.size - first, kManyTokens));
  if (s.data != nullptr) multiply_many(a.w, s);
}

V4I_KERNEL(v4i_experts_float, ExpertProductsArgs, 256, 1) {
  const Group group = group_of_block(a);
  for (int first = 0; first < group.size; first += kFloatTokens) {
    const Slab s = slab_of(a, group, a.plan.tiles * kFloatRowTile, first,
                           min(group.size - first, kFloatTokens));
    if (s.data != nullptr) multiply_float(a.w, s, a.plan);
  }
}

// swiglu() of ops.h.
V4I_DEVICE float gated(float gate, float up, float limit, float weight) {
  if (limit > 0) {
    gate = fminf(gate, limit);
    up = fminf(fmaxf(up, -limit), limit);
  }
  return __fmul_rn(weight, __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, expf(-gate))), up));
}

V4I_KERNEL(v4i_experts_gate, GateArgs, 128, 8) {
  const int64_t slot = blockIdx.x;
  if (a.count != nullptr && slot >= *a.count) return;
  const int channels = a.quantise_block > 0 ? a.quantise_block : kGateChannels;
  const int begin = (static_cast<int>(blockIdx.y) * kGateWarps + warp()) * channels;
  const int end = min(begin + channels, a.width);
  float* gate = a.gate + slot * a.width;
  const float* up = a.up + slot * a.width;
  const float weight = a.weight != nullptr ? a.weight[slot] : 1.0f;
  float largest = 0;
  for (int c = begin + lane(); c < end; c += 32) {
    const float y = gated(gate[c], up[c], a.limit, weight);
    gate[c] = a.native != 0 ? round_bf16(y) : y;
    largest = fmaxf(largest, fabsf(gate[c]));
  }
  if (a.quantise_block == 0) return;
  largest = warp_max(largest);
  for (int c = begin + lane(); c < end; c += 32) gate[c] = fp8_sim(gate[c], largest);
}
