// A block of a product for many tokens: as many rows as it has threads, times up to 64 tokens.
//
// A warp multiplies 32 rows (two tiles) by all tokens of the block: a weight is unpacked once for
// all of them.  Weights go from memory to registers, a chunk ahead.  x lies in shared memory, two
// stages of 64 columns (fp4: 128), and is fetched in pieces between the multiplications.  Behind it
// lie each thread's totals, to which it adds the sums of a segment.
#pragma once

#include "kernels/cuda/product.cuh"

namespace v4i::kernels::cuda {

template <WeightFormat F>
struct Stage {
  static constexpr int kColumns = F == WeightFormat::kFp4 ? 128 : 64;
  static constexpr int kChunks = kColumns / Layout<F>::kColumns;
  static constexpr int kUnits = kChunks * Layout<F>::kUnits;  // of a lane: pieces of x
  static constexpr int kXRow = 2 * kColumns;                  // bytes of a token
};

// The rows of a lane: g, g + 8, g + 16 and g + 24 of the warp's 32.
template <WeightFormat F>
struct LaneRows {
  const uint8_t* data;
  const uint8_t* scale;
  uint32_t row[4], scale_row[4];  // bytes from there
  int block_cols, shift, scale_cols, chunks;

  V4I_DEVICE LaneRows(const Matrix& w, const Slab& s)
      : block_cols(w.block_cols),
        shift(31 - __clz(w.block_cols | 1)),
        scale_cols(w.scale_cols),
        chunks((w.cols + Layout<F>::kColumns - 1) / Layout<F>::kColumns) {
    const int first = min(s.begin + warp() * 32, s.end - 1);
    const int first_scale = Layout<F>::kScaled ? first / w.block_rows : 0;
    data = s.data + first * w.row_bytes + lane() % 4 * 16;
    scale = s.scale + static_cast<int64_t>(first_scale) * w.scale_cols;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = min(s.begin + warp() * 32 + lane() / 4 + 8 * i, s.end - 1);
      row[i] = static_cast<uint32_t>(at - first) * static_cast<uint32_t>(w.row_bytes);
      scale_row[i] = Layout<F>::kScaled
                         ? static_cast<uint32_t>((at / w.block_rows - first_scale) * w.scale_cols)
                         : 0;
    }
  }

  // Where the scale code of the lane's columns of a chunk is in a row of codes.
  V4I_DEVICE int code_at(int chunk) const {
    const int column = chunk * Layout<F>::kColumns + lane() % 4 * (8 * Layout<F>::kUnits);
    const int at = (1 << shift) == block_cols ? column >> shift : column / block_cols;
    return min(at, scale_cols - 1);
  }
};

// A chunk of the lane's rows, as it lies in memory.
template <WeightFormat F>
struct ChunkWeights {
  uint4 codes[4];
  uint8_t scale[4];

  V4I_DEVICE void load(const LaneRows<F>& rows, int chunk) {
    if (chunk >= rows.chunks) return;
    const uint8_t* from = rows.data + int64_t{64} * chunk;
#pragma unroll
    for (int i = 0; i < 4; ++i) codes[i] = load16(from + rows.row[i]);
    if constexpr (Layout<F>::kScaled) {
      const uint8_t* code = rows.scale + rows.code_at(chunk);
#pragma unroll
      for (int i = 0; i < 4; ++i) scale[i] = code[rows.scale_row[i]];
    }
  }
};

// x of a stage in pieces: four units of each of 8 N tokens, of which a thread takes one or two.
template <WeightFormat F, int N>
struct XPiece {
  static constexpr int kUnits = 4 * 8 * N;
  static constexpr int kMost = (kUnits + 127) / 128;
  const float* row[kMost];  // from the thread's columns on
  float v[kMost][8];

  V4I_DEVICE explicit XPiece(const Slab& s) {
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int token = static_cast<int>(threadIdx.x + i * blockDim.x) / 4;
      row[i] = s.x_of(min(token, s.tokens - 1)) + threadIdx.x % 4 * 8;
    }
  }

  V4I_DEVICE void load(int cols, bool aligned, int stage, int piece) {
    const int column = stage * Stage<F>::kColumns + 32 * piece;
#pragma unroll
    for (int i = 0; i < kMost; ++i)
      if (threadIdx.x + i * blockDim.x < kUnits)
        load_x(row[i], column, cols - static_cast<int>(threadIdx.x % 4 * 8), aligned, v[i]);
  }

  V4I_DEVICE void store(unsigned char* x, int piece) const {
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int at = static_cast<int>(threadIdx.x + i * blockDim.x), token = at / 4;
      if (at < kUnits)
        *reinterpret_cast<uint4*>(x + token * Stage<F>::kXRow +
                                  16 * place_of_unit<F>(token, 4 * piece + at % 4)) =
            pack_x<F>(v[i]);
    }
  }
};

// Unit `unit` of the warp's 32 rows times that of all tokens; x_unit() of the unit in the stage.
template <WeightFormat F, int N>
V4I_DEVICE void multiply_rows(float (&sum)[2][N][4], const ChunkWeights<F>& w,
                              const uint32_t (&scale)[4], int chunk, int unit, int x) {
  uint32_t rows[4][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) unpack_unit<F, false>(w.codes[i], unit, scale[i], rows[i]);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const uint4 of_token = x_unit<F>(x + 8 * n * Stage<F>::kXRow, chunk, unit);
    multiply_unit(sum[0][n], rows[0], rows[1], of_token);
    multiply_unit(sum[1][n], rows[2], rows[3], of_token);
  }
}

// Adds the sums of a segment to the totals, which lie four by four, thread by thread.
template <int N>
V4I_DEVICE void add_segment(float (&sum)[2][N][4], float4* totals, bool first) {
#pragma unroll
  for (int i = 0; i < 2 * N; ++i) {
    float(&part)[4] = sum[i / N][i % N];
    const float4 old = first ? make_float4(0, 0, 0, 0) : totals[i * blockDim.x + threadIdx.x];
    totals[i * blockDim.x + threadIdx.x] =
        make_float4(old.x + part[0], old.y + part[1], old.z + part[2], old.w + part[3]);
    part[0] = part[1] = part[2] = part[3] = 0;
  }
}

template <int N>
V4I_DEVICE void store_many(const Slab& s, const float4* totals) {
#pragma unroll
  for (int i = 0; i < 2 * N; ++i) {
    const float4 total = totals[i * blockDim.x + threadIdx.x];
    const int row = s.begin + warp() * 32 + i / N * 16 + lane() / 4;
    const int token = i % N * 8 + lane() % 4 * 2;
    if (row < s.end && token < s.tokens) s.store(token, row, total.x);
    if (row < s.end && token + 1 < s.tokens) s.store(token + 1, row, total.y);
    if (row + 8 < s.end && token < s.tokens) s.store(token, row + 8, total.z);
    if (row + 8 < s.end && token + 1 < s.tokens) s.store(token + 1, row + 8, total.w);
  }
}

// s.tokens <= 8 N.
template <WeightFormat F, int N>
V4I_DEVICE void multiply_many(const Matrix& w, const Slab& s) {
  constexpr int kXBytes = 8 * N * Stage<F>::kXRow, kStages = kSegment / Stage<F>::kColumns;
  const LaneRows<F> rows(w, s);
  const bool aligned = aligned_x(s);
  const int stages = (w.cols + Stage<F>::kColumns - 1) / Stage<F>::kColumns;
  const int x_row = x_of_lane<F>(lane() / 4 * Stage<F>::kXRow, lane() / 4);
  ChunkWeights<F> weights, next;
  XPiece<F, N> piece(s);
  float4* totals = reinterpret_cast<float4*>(shared_memory() + 2 * kXBytes);
  float sum[2][N][4] = {};
  next.load(rows, 0);
  for (int p = 0; p < Stage<F>::kUnits; ++p) {
    piece.load(w.cols, aligned, 0, p);
    piece.store(shared_memory(), p);
  }
  for (int stage = 0; stage < stages; ++stage) {
    __syncthreads();
    const bool more = stage + 1 < stages;
    const int x = stage % 2 * kXBytes, other = kXBytes - x;
#pragma unroll
    for (int c = 0; c < Stage<F>::kChunks; ++c) {
      const int chunk = stage * Stage<F>::kChunks + c;
      weights = next;
      next.load(rows, chunk + 1);
      uint32_t scale[4] = {};
      if constexpr (Layout<F>::kScaled)
        for (int i = 0; i < 4; ++i)
          scale[i] = RawScale<F>::of(usable_code(weights.scale[i]), false);
#pragma unroll
      for (int unit = 0; unit < Layout<F>::kUnits; ++unit) {
        const int p = c * Layout<F>::kUnits + unit;
        if (more) piece.load(w.cols, aligned, stage + 1, p);
        if (chunk < rows.chunks) multiply_rows<F, N>(sum, weights, scale, c, unit, x_row + x);
        if (more) piece.store(shared_memory() + other, p);
      }
    }
    if (!more || (stage + 1) % kStages == 0) add_segment<N>(sum, totals, stage < kStages);
  }
  store_many<N>(s, totals);
}

// The same for the matrix's format, and for as many tokens as there are.
template <WeightFormat F>
V4I_DEVICE void multiply_many(const Matrix& w, const Slab& s) {
  if (s.tokens <= 16)
    multiply_many<F, 2>(w, s);
  else if (s.tokens <= 32)
    multiply_many<F, 4>(w, s);
  else
    multiply_many<F, 8>(w, s);
}

V4I_DEVICE void multiply_many(const Matrix& w, const Slab& s) {
  switch (static_cast<WeightFormat>(w.format)) {
    case WeightFormat::kBF16:
      return multiply_many<WeightFormat::kBF16>(w, s);
    case WeightFormat::kFp8:
      return multiply_many<WeightFormat::kFp8>(w, s);
    case WeightFormat::kFp4:
      return multiply_many<WeightFormat::kFp4>(w, s);
    case WeightFormat::kF32:
      return;
  }
}

}  // namespace v4i::kernels::cuda
