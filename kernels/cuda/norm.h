// Operations on rows of activations: norm, quantised copies, embeddings, rows picked out.  Arrays
// start at multiples of 16 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_launch.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

// y[t] = rms_norm(x[t]) with gain, rounded when native; yq[t] = fp8_sim(y[t]) in blocks of
// quantise_block.  Either may be null (y not with more than kKeptChannels columns); y may be x.
struct NormArgs {
  const float* x = nullptr;
  std::int64_t x_stride = 0;  // floats from row to row
  float* y = nullptr;
  std::int64_t y_stride = 0;
  float* yq = nullptr;  // [n, cols]
  const float* gain = nullptr;
  std::int32_t n = 0, cols = 0;
  std::int32_t quantise_block = 0;
  float eps = 0;
  std::int32_t native = 0;
};
constexpr int kNormThreads = 256;

inline Launch launch_norm(const NormArgs& a) {
  if (a.n == 0) return {};
  Launch l;
  l.kernel = "v4i_norm";
  l.x = static_cast<std::uint32_t>(a.n);
  l.threads = kNormThreads;
  l.shared = sizeof(float) * 32 + row_shared_bytes(a.cols);
  return l;
}

// y[t] = fp8_sim(x[t]) in blocks of `block`; both [n, cols], y may be x.
struct QuantiseRowsArgs {
  const float* x = nullptr;
  float* y = nullptr;
  std::int32_t n = 0, cols = 0, block = 0;
};

inline Launch launch_quantise(const QuantiseRowsArgs& a) {
  if (a.n == 0) return {};
  Launch l = rows_launch("v4i_quantise", a.n, a.cols);
  // Blocks that do not divide the 128 channels of a warp: a warp takes one at a time.
  const bool fits = a.block >= 4 && a.block <= 128 && (a.block & (a.block - 1)) == 0;
  if (!fits)
    l.y = static_cast<std::uint32_t>(divide_up(divide_up(a.cols, a.block), kRowThreads / 32));
  return l;
}

// streams[t, s] = rows[t] for all s
struct EmbedArgs {
  const float* rows = nullptr;  // [n, width]
  float* streams = nullptr;     // [n, count, width]
  std::int32_t n = 0, count = 0, width = 0;
};

inline Launch launch_embed(const EmbedArgs& a) {
  if (a.n == 0) return {};
  return rows_launch("v4i_embed", a.n, a.width);
}

// to[i] = from[tokens[i].row], rows of `width` floats; the arrays do not overlap.
struct PickedArray {
  const float* from = nullptr;
  float* to = nullptr;
  std::int32_t width = 0;
};
struct PickArgs {
  PickedArray array[8];
  const Token* tokens = nullptr;
  std::int32_t n = 0, arrays = 0;
};

inline Launch launch_pick(const PickArgs& a) {
  if (a.n == 0 || a.arrays == 0) return {};
  std::int32_t most = 0;
  for (int i = 0; i < a.arrays; ++i) most = a.array[i].width > most ? a.array[i].width : most;
  Launch l = rows_launch("v4i_pick", a.n, most);
  l.z = static_cast<std::uint32_t>(a.arrays);
  return l;
}

// streams[t, s] = streams[t, s] + rows[t], rounded when native
struct AddStreamsArgs {
  const float* rows = nullptr;  // [n, width]
  float* streams = nullptr;     // [n, count, width]
  std::int32_t n = 0, count = 0, width = 0;
  std::int32_t native = 0;
};

inline Launch launch_add_streams(const AddStreamsArgs& a) {
  if (a.n == 0) return {};
  return rows_launch("v4i_add_streams", a.n, a.width);
}

}  // namespace v4i::kernels::cuda
