// One tile of attention on tensor cores: 16 heads, 32 rows.
//
// A warp has a slice of 64 channels: of the query, of the rows, and of the result.  The rows of its
// slice lie in shared memory as bf16, where no other warp reads them.  Logits are sums over all
// slices: each warp leaves its own sums in shared memory, then each adds them up for 2 heads.
//
// Fragments of mma m16n8k16, lane = 4 g + t: A has rows g and g + 8, B column g; k of a lane are
// {2t, 2t+1, 2t+8, 2t+9}; D has rows g and g + 8, columns 2t and 2t + 1.  Which channel or row a k
// or a column stands for is free as long as both operands agree; it is chosen so that a lane reads
// 16 bytes of shared memory at once.
#pragma once

#include "kernels/cuda/attention.cuh"

namespace v4i::kernels::cuda {

constexpr int kSliceUnits = kAttentionSlice / 8;

// Where a unit of 8 channels lies in a packed row.
struct UnitPlace {
  int codes;  // byte offset of the first 8 bytes
  int scale;  // byte offset of the scale's code, 0: channels are bf16
  bool none;  // rows have no such channels
};

V4I_DEVICE UnitPlace place_of(const SparseAttentionArgs& a, int unit) {
  const int plain = a.dim - a.rope, c = unit * 8;
  if (c < plain) return {c, plain + 2 * a.rope + c / 64, false};
  return {plain + 2 * (c - plain), 0, c >= a.dim};
}

// A unit as it is stored, all zero when there is none.
struct Fp8Unit {
  uint2 codes;
  uint32_t scale;
};
struct Bf16Unit {
  uint2 first, second;
};

V4I_DEVICE void load_unit(const uint8_t* row, UnitPlace place, Fp8Unit& u) {
  u = {make_uint2(0, 0), 0};
  if (row == nullptr) return;
  u.codes = __ldg(reinterpret_cast<const uint2*>(row + place.codes));
  u.scale = __ldg(row + place.scale);
}

V4I_DEVICE void load_unit(const uint8_t* row, UnitPlace place, Bf16Unit& u) {
  u = {make_uint2(0, 0), make_uint2(0, 0)};
  if (row == nullptr || place.none) return;
  u.first = __ldg(reinterpret_cast<const uint2*>(row + place.codes));
  u.second = __ldg(reinterpret_cast<const uint2*>(row + place.codes + 8));
}

// Four channels of a unit, the first or the second, as bf16.
V4I_DEVICE void decode_half(Fp8Unit u, int half, uint32_t (&out)[2]) {
  const uint32_t scale = bf16_power_of_two(static_cast<uint8_t>(u.scale));
  fp8_to_bf16(half == 0 ? u.codes.x : u.codes.y, out);
  out[0] = multiply_bf16(out[0], scale);
  out[1] = multiply_bf16(out[1], scale);
}

V4I_DEVICE void decode_half(Bf16Unit u, int half, uint32_t (&out)[2]) {
  out[0] = half == 0 ? u.first.x : u.second.x;
  out[1] = half == 0 ? u.first.y : u.second.y;
}

V4I_DEVICE uint32_t low_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x5410); }
V4I_DEVICE uint32_t high_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x7632); }

// The rows of a tile, one slice, in units of 16 bytes: 4 rows of 2 channels.  A word has one
// channel of two rows, the first one in its low half: rows 0 1 and rows 2 3 of channel 0, then of
// channel 1. Eight neighbouring units change places, so that no two of 8 lanes meet in a bank: not
// when they store one unit of each of 8 channels, nor in multiply_keys, nor in add_values.
struct KeySlice {
  uint4* unit;
  V4I_DEVICE uint4& at(int four_rows, int two_channels) const {
    return unit[four_rows * (kAttentionSlice / 2) + two_channels / 8 * 8 +
                ((two_channels ^ four_rows ^ two_channels / 8) & 7)];
  }
};

// One unit of four rows goes into a slice.
template <class Unit>
V4I_DEVICE void store_rows(KeySlice keys, int four_rows, int unit, const Unit (&stored)[4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t x[4][2];
#pragma unroll
    for (int r = 0; r < 4; ++r) decode_half(stored[r], half, x[r]);
#pragma unroll
    for (int i = 0; i < 2; ++i)
      keys.at(four_rows, 4 * unit + 2 * half + i) =
          make_uint4(low_halves(x[0][i], x[1][i]), low_halves(x[2][i], x[3][i]),
                     high_halves(x[0][i], x[1][i]), high_halves(x[2][i], x[3][i]));
  }
}

// One unit of every row from row 4 q on that falls to the lane.
template <class Unit, int kSets>
V4I_DEVICE void load_rows(KeySlice keys, int q, int unit, const uint64_t* row, UnitPlace place) {
  constexpr int kStep = 32 / kSliceUnits;
#pragma unroll 1
  for (; q < kAttentionTileRows / 4; q += kSets * kStep) {
    Unit stored[kSets][4];
#pragma unroll
    for (int i = 0; i < 4 * kSets; ++i)
      load_unit(reinterpret_cast<const uint8_t*>(row[4 * (q + i / 4 * kStep) + i % 4]), place,
                stored[i / 4][i % 4]);
#pragma unroll
    for (int i = 0; i < kSets; ++i) store_rows(keys, q + i * kStep, unit, stored[i]);
  }
}

// Fills a slice with the tile whose rows lie at the addresses row[32], 0 where there is none.  A
// lane has two sets of 4 rows: with kSets 2 all loads are under way before the first is waited for.
template <int kSets>
V4I_DEVICE void load_keys(const SparseAttentionArgs& a, KeySlice keys, const uint64_t* row) {
  const int l = lane_anew(), unit = l % kSliceUnits;
  const UnitPlace place = place_of(a, warp() * kSliceUnits + unit);
  if (place.scale != 0)
    load_rows<Fp8Unit, kSets>(keys, l / kSliceUnits, unit, row, place);
  else
    load_rows<Bf16Unit, kSets>(keys, l / kSliceUnits, unit, row, place);
}

// A query's slice as operand A: step k has channels 16 k + 4 t .. + 3 of a lane.
struct QuerySlice {
  uint32_t k[4][4];
};

V4I_DEVICE void load_query(const SparseAttentionArgs& a, int t, int first_head, QuerySlice& q) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = first_head + lane() / 4 + 8 * half;
      const int c = warp() * kAttentionSlice + 16 * k + lane() % 4 * 4;
      float4 v = make_float4(0, 0, 0, 0);
      if (head < a.heads && c < a.dim)
        v = *reinterpret_cast<const float4*>(
            a.q + (static_cast<int64_t>(t) * a.heads + head) * a.dim + c);
      q.k[k][half] = pack_bf16(v.x, v.y);
      q.k[k][2 + half] = pack_bf16(v.z, v.w);
    }
  }
}

// The slice's part of q . k.  Column c of sum[r] is row 4 c + r of the tile.
V4I_DEVICE void multiply_keys(const QuerySlice& q, KeySlice keys, float (&sum)[4][4]) {
  const int l = lane_anew(), g = l / 4, t = l % 4;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint4 v = keys.at(g, 8 * k + 2 * t), w = keys.at(g, 8 * k + 2 * t + 1);
    mma_bf16(sum[0], q.k[k], {low_halves(v.x, v.z), low_halves(w.x, w.z)});
    mma_bf16(sum[1], q.k[k], {high_halves(v.x, v.z), high_halves(w.x, w.z)});
    mma_bf16(sum[2], q.k[k], {low_halves(v.y, v.w), low_halves(w.y, w.w)});
    mma_bf16(sum[3], q.k[k], {high_halves(v.y, v.w), high_halves(w.y, w.w)});
  }
}

// What the warps exchange: sums of logits [8 slices][16 heads][32 rows].  When the warp that has
// heads g and g + 8 has added them up, their softmax takes their place: probabilities in slice 0
// of head g, factors in the slices behind.
struct Exchange {
  float* sums;
  // Groups of 4 rows are exchanged in odd heads, so that the banks of 8 lanes differ.
  V4I_DEVICE float* at(int slice, int head, int row) const {
    return sums + (slice * kAttentionHeads + head) * kAttentionTileRows + (row ^ (head & 1) << 2);
  }
  // What lane 4 g + t has of operand A in step k: 2 rows a word, heads g and g + 8 in turns.
  V4I_DEVICE uint4& probabilities(int g, int t, int k) const {
    return reinterpret_cast<uint4*>(at(0, g & ~1, 0))[(g & 1) * 8 + 2 * t + (k ^ (g & 1))];
  }
  V4I_DEVICE uint16_t& probability(int head, int row) const {
    uint4& four_rows = probabilities(head % 8, row / 8, row / 4 % 2);
    return reinterpret_cast<uint16_t*>(&four_rows)[row / 2 % 2 * 4 + head / 8 * 2 + row % 2];
  }
  V4I_DEVICE float& factor(int i, int head) const { return *at(1 + i, head, 0); }
};

// The result of 16 heads and a slice.  Column c of d[2 i + s] is channel 16 i + 2 c + s.
struct ValueSums {
  float d[8][4] = {};
  // What the lane has of head g + 8 half, channel 16 i + 4 t + c.
  V4I_DEVICE float at(int half, int i, int c) const { return d[2 * i + c % 2][2 * half + c / 2]; }
};

// += probabilities . rows; step k has rows 8 t + 4 k .. + 3 of a lane.
V4I_DEVICE void add_values(Exchange x, KeySlice keys, ValueSums& o) {
  const int l = lane_anew(), g = l / 4, t = l % 4;
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const uint4 p = x.probabilities(g, t, k);
    const uint32_t a[4] = {p.x, p.y, p.z, p.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4 v = keys.at(2 * t + k, 8 * i + g);
      mma_bf16(o.d[2 * i], a, {v.x, v.y});
      mma_bf16(o.d[2 * i + 1], a, {v.z, v.w});
    }
  }
}

}  // namespace v4i::kernels::cuda
