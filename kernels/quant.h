// Quantisation as the model was trained with it, and the packed forms of KV rows.
//
//   scale of a block = 2^ceil(log2(max|x| * fl32(1 / top))), max|x| at least a floor
//   fp8_sim: top 448, floor 1e-4;  fp4_sim: top 6, floor 6 * 2^-126
//
// Values afterwards lie on the fp8 or fp4 grid times a power of two, which bf16
// represents exactly; packing such values loses nothing.  Spec 2.1 and 4.3.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/tensor/row_form.h"

namespace v4i::kernels {

// x[i] <- nearest representable, blocks of `block` along n; a last short block is
// its own block.  In place is allowed (y == x).
void fp8_sim(const float* x, float* y, std::int64_t n, std::int64_t block);
void fp4_sim(const float* x, float* y, std::int64_t n, std::int64_t block);

void round_bf16(float* x, std::int64_t n);

// Sylvester-ordered Walsh-Hadamard transform times n^-0.5; n is a power of two.
void hadamard(float* x, std::int64_t n);

// A KV row in one of the packed forms of row_form.h.  While packing, channels are quantised by
//   kFp8Rope16  fp8_sim(64), those before the rotary ones
//   kFp8        fp8_sim(32)
//   kFp4        scale s = e4m3(max(max|x|, 6 * 2^-9) / 6) of 16, x / s to the nearest e2m1
void pack_row(const float* x, int dim, int rope, std::uint8_t* out,
              RowForm form = RowForm::kFp8Rope16);
void unpack_row(const std::uint8_t* row, int dim, int rope, float* out,
                RowForm form = RowForm::kFp8Rope16);

// An index key of `dim` channels: dim / 2 bytes of e2m1 pairs | one ue8m0 per 32.
// pack_key quantises by fp4_sim(32) while packing; dim is even.
void pack_key(const float* x, int dim, std::uint8_t* out);
void unpack_key(const std::uint8_t* key, int dim, float* out);

}  // namespace v4i::kernels
