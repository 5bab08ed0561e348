// A block of a product for few tokens: reads its rows once, as fast as memory gives them.
//
// An item is a tile of 16 rows times a segment of the columns.  A warp takes every W-th item; it
// keeps the 16-byte loads of an item (fp8: 16 a lane, 8 KiB a warp) on their way, and issues those
// of the next while it multiplies.  x and the scale codes lie in shared memory, of as many segments
// as a pass has; the loads of weights run on from pass to pass.
#pragma once

#include "kernels/cuda/product_share.cuh"

namespace v4i::kernels::cuda {

// Where a block keeps what; x comes first.
struct FewPlaces {
  uint8_t* codes;
  float* sums;   // [item of the pass][token][kSumStride]: its sum, 16 rows of it
  float* carry;  // [tile][token][16]: sum of the passes before
};

// What a lane loads at once: a quarter of an item of bf16, a whole one of the others.
template <WeightFormat F>
struct Step {
  static constexpr int kChunks = F == WeightFormat::kBF16 ? 4 : Layout<F>::kChunks;
  static constexpr int kParts = Layout<F>::kChunks / kChunks;  // of an item

  int pass, item, part = 0;
  const uint8_t* low;  // the lane's bytes of the first chunk, of row g of the tile
  uint32_t high;       // row g + 8 is so many bytes further on
  int count;           // chunks; those behind the last column do not exist

  V4I_DEVICE explicit Step(const FewShare<F>& share) : pass(0), item(warp()) { settle(share); }

  V4I_DEVICE void advance(const FewShare<F>& share) {
    if (++part == kParts) {
      part = 0;
      item += static_cast<int>(blockDim.x / 32);
    }
    settle(share);
  }

 private:
  V4I_DEVICE void settle(const FewShare<F>& share) {
    while (pass < share.passes && item >= share.tiles * share.width(pass)) {
      ++pass;
      item = warp();
    }
    count = 0;
    if (pass == share.passes) return;
    const int width = share.width(pass), tile = item / width;
    const int segment = pass * share.plan.pass + item - tile * width;
    const int row = share.s.begin + tile * kRowTile + lane() / 4, last = share.s.end - 1;
    low = share.s.data + segment * Layout<F>::kSegmentBytes + part * kChunks * 64 +
          lane() % 4 * 16 + min(row, last) * share.w.row_bytes;
    high = static_cast<uint32_t>(max(min(8, last - row), 0)) *
           static_cast<uint32_t>(share.w.row_bytes);
    count = min(kChunks, share.chunks - segment * Layout<F>::kChunks - part * kChunks);
  }
};

// A lane's scale codes of an item.
template <WeightFormat F>
struct ItemCodes {
  const uint8_t* low;  // of row g; of row g + 8 `high` bytes on
  int high, step;      // from chunk to chunk

  V4I_DEVICE ItemCodes(const FewShare<F>& share, const uint8_t* codes, int tile, int segment) {
    const int count = codes_of_segment(share.w), stride = share.plan.pass * count + 4;
    step = count / Layout<F>::kChunks;  // 1: for all lanes; 4: one for each of four
    low = codes + (tile * kRowTile + lane() / 4) * stride + segment * count +
          (step == 4 ? lane() % 4 : 0);
    high = 8 * stride;
  }
};

// The sums of an item, which `codes` holds; the loads of what comes next take its place.
template <WeightFormat F, int N, bool kFolded>
V4I_DEVICE void multiply_item(const FewShare<F>& share, const FewPlaces& to, Step<F>& step,
                              uint4 (&codes)[Step<F>::kChunks][2]) {
  const int width = share.width(step.pass), tile = step.item / width;
  const int segment = step.item - tile * width, item = step.item, g = lane() / 4, t = lane() % 4;
  constexpr int kPartBytes = 2 * Step<F>::kChunks * Layout<F>::kColumns;  // of x
  const ItemCodes<F> scales(share, to.codes, tile, segment);
  int x[N];
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int token = min(8 * n + g, share.s.tokens - 1);
    x[n] = x_of_lane<F>((token * share.plan.pass + segment) * (kSegment * 2), token);
  }
  float sum[N][4] = {};
#pragma unroll 1
  for (int part = 0; part < Step<F>::kParts; ++part) {
    const int count = step.count;
    step.advance(share);
    const uint8_t* next_high = step.low + step.high;
#pragma unroll
    for (int c = 0; c < Step<F>::kChunks; ++c) {
      if (c < count) {
        uint32_t low_scale = 0, high_scale = 0;
        if (Layout<F>::kScaled) {
          low_scale = RawScale<F>::of(scales.low[c * scales.step], kFolded);
          high_scale = RawScale<F>::of(scales.low[c * scales.step + scales.high], kFolded);
        }
#pragma unroll
        for (int unit = 0; unit < Layout<F>::kUnits; ++unit) {
          uint32_t low[4], high[4];
          unpack_unit<F, kFolded>(codes[c][0], unit, low_scale, low);
          unpack_unit<F, kFolded>(codes[c][1], unit, high_scale, high);
#pragma unroll
          for (int n = 0; n < N; ++n)
            multiply_unit(sum[n], low, high, x_unit<F>(x[n] + part * kPartBytes, c, unit));
        }
      }
      if (c < step.count) {
        codes[c][0] = load16(step.low + 64 * c);
        codes[c][1] = load16(next_high + 64 * c);
      }
    }
  }
  float* out = to.sums + item * (8 * N * kSumStride) + 2 * t * kSumStride + g;
#pragma unroll
  for (int n = 0; n < N; ++n, out += 8 * kSumStride) {
    out[0] = sum[n][0], out[kSumStride] = sum[n][1];
    out[8] = sum[n][2], out[kSumStride + 8] = sum[n][3];
  }
}

// Adds the segments of a pass in rising order; the last pass gives the results.
template <WeightFormat F, int N>
V4I_DEVICE void add_segments(const FewShare<F>& share, const FewPlaces& from, int pass) {
  const Slab& s = share.s;
  const int width = share.width(pass), of_tile = kRowTile * s.tokens;
  for (int i = static_cast<int>(threadIdx.x); i < share.tiles * of_tile;
       i += static_cast<int>(blockDim.x)) {
    const int tile = i / of_tile, token = (i - tile * of_tile) / kRowTile, row = i % kRowTile;
    const float* part = from.sums + (tile * width * 8 * N + token) * kSumStride + row;
    float sum = pass == 0 ? 0.0f : from.carry[i];
    for (int k = 0; k < width; ++k) sum += part[k * (8 * N * kSumStride)];
    if (pass + 1 < share.passes)
      from.carry[i] = sum;
    else if (s.begin + tile * kRowTile + row < s.end)
      s.store(token, s.begin + tile * kRowTile + row, sum);
  }
}

// N: tiles of 8 tokens; s.tokens <= 8 N.
template <WeightFormat F, int N>
V4I_DEVICE void multiply_few(const Matrix& w, const Slab& s, FewPlan plan, int most_tokens) {
  const FewShare<F> share(w, s, plan);
  const FewShared bytes = few_shared(w, plan, most_tokens);
  unsigned char* memory = shared_memory();
  const FewPlaces places{memory + bytes.x, reinterpret_cast<float*>(memory + bytes.x + bytes.codes),
                         reinterpret_cast<float*>(memory + bytes.x + bytes.codes + bytes.sums)};
  Step<F> step(share);
  uint4 codes[Step<F>::kChunks][2];
#pragma unroll
  for (int c = 0; c < Step<F>::kChunks; ++c) {
    if (c >= step.count) continue;
    codes[c][0] = load16(step.low + 64 * c);
    codes[c][1] = load16(step.low + step.high + 64 * c);
  }
  for (int pass = 0; pass < share.passes; ++pass) {
    stage_x<F, 3 - N>(share, pass, memory);
    if constexpr (Layout<F>::kScaled) {
      const bool large = stage_codes(share, pass, places.codes);
      if (__syncthreads_or(large))
        while (step.pass == pass) multiply_item<F, N, false>(share, places, step, codes);
    } else {
      __syncthreads();
    }
    while (step.pass == pass) multiply_item<F, N, true>(share, places, step, codes);
    __syncthreads();
    add_segments<F, N>(share, places, pass);
  }
}

// The same for the matrix's format.
template <int N>
V4I_DEVICE void multiply_few(const Matrix& w, const Slab& s, FewPlan plan, int most_tokens) {
  switch (static_cast<WeightFormat>(w.format)) {
    case WeightFormat::kBF16:
      return multiply_few<WeightFormat::kBF16, N>(w, s, plan, most_tokens);
    case WeightFormat::kFp8:
      return multiply_few<WeightFormat::kFp8, N>(w, s, plan, most_tokens);
    case WeightFormat::kFp4:
      return multiply_few<WeightFormat::kFp4, N>(w, s, plan, most_tokens);
    case WeightFormat::kF32:
      return;
  }
}

}  // namespace v4i::kernels::cuda
