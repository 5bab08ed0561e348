// A block's share of a product for few tokens, and what it keeps of x and of the scales in shared
// memory; see product_few.cuh.
#pragma once

#include "kernels/cuda/product.cuh"

namespace v4i::kernels::cuda {

// A block's share: tiles of rows, passes of segments.
template <WeightFormat F>
struct FewShare {
  const Matrix& w;
  const Slab& s;
  const FewPlan plan;
  const int tiles, segments, passes, chunks;

  V4I_DEVICE FewShare(const Matrix& matrix, const Slab& slab, FewPlan p)
      : w(matrix),
        s(slab),
        plan(p),
        tiles((slab.end - slab.begin + kRowTile - 1) / kRowTile),
        segments(segments_of(matrix.cols)),
        passes((segments + p.pass - 1) / p.pass),
        chunks((matrix.cols + Layout<F>::kColumns - 1) / Layout<F>::kColumns) {}

  // Segments of a pass.
  V4I_DEVICE int width(int pass) const { return min(plan.pass, segments - pass * plan.pass); }
};

// x of a pass, as bf16, which it is; kTurns units of a thread are on their way at a time.
template <WeightFormat F, int kTurns>
V4I_DEVICE void stage_x(const FewShare<F>& share, int pass, unsigned char* to) {
  const Slab& s = share.s;
  const bool aligned = aligned_x(s);
  const int units = share.width(pass) * (kSegment / 8), stride = share.plan.pass * kSegment * 2;
  const int step = static_cast<int>(blockDim.x), all = units * s.tokens;
  for (int first = static_cast<int>(threadIdx.x); first < all; first += kTurns * step) {
    float v[kTurns][8];
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const int at = first + i * step, token = at / units;
      if (at < all)
        load_x(s.x_of(token), pass * share.plan.pass * kSegment + (at - token * units) * 8,
               share.w.cols, aligned, v[i]);
    }
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const int at = first + i * step, token = at / units;
      if (at < all)
        *reinterpret_cast<uint4*>(to + token * stride +
                                  16 * place_of_unit<F>(token, at - token * units)) =
            pack_x<F>(v[i]);
    }
  }
}

// Scale codes of a pass: codes_of_segment() of each row for a segment; rows 4 bytes further apart.
// Returns whether one of them is too large to be folded.
template <WeightFormat F>
V4I_DEVICE bool stage_codes(const FewShare<F>& share, int pass, uint8_t* to) {
  const Matrix& w = share.w;
  const int codes = codes_of_segment(w), columns = kSegment / codes;
  const int words = share.width(pass) * codes / 4, stride = share.plan.pass * codes + 4;
  const bool whole = columns == w.block_cols && w.scale_cols % 4 == 0 &&
                     reinterpret_cast<uintptr_t>(share.s.scale) % 4 == 0;
  bool large = false;
  for (int i = static_cast<int>(threadIdx.x); i < share.tiles * kRowTile * words;
       i += static_cast<int>(blockDim.x)) {
    const int row = i / words, word = i - row * words;
    const int matrix_row = min(share.s.begin + row, share.s.end - 1);
    const uint8_t* from =
        share.s.scale + static_cast<int64_t>(matrix_row / w.block_rows) * w.scale_cols;
    const int first = pass * share.plan.pass * codes + 4 * word;
    uint32_t four = 0;
    if (whole && first + 4 <= w.scale_cols) {
      four = *reinterpret_cast<const uint32_t*>(from + first);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        four |= uint32_t{from[min((first + k) * columns / w.block_cols, w.scale_cols - 1)]}
                << 8 * k;
    }
    uint32_t usable = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int code = usable_code(static_cast<int>(four >> 8 * k & 255));
      large |= code > RawScale<F>::kMostFolded;
      usable |= static_cast<uint32_t>(code) << 8 * k;
    }
    *reinterpret_cast<uint32_t*>(to + row * stride + 4 * word) = usable;
  }
  return large;
}

}  // namespace v4i::kernels::cuda
