// Attention; see attention.h.
#include "kernels/cuda/attention_tile.cuh"

namespace v4i::kernels::cuda {

namespace {

constexpr int kOwnHeads = kAttentionHeads / kAttentionWarps;  // whose softmax a warp has

// What all warps of a block read.
struct Table {
  Candidates rows;
  uint64_t row[2][kAttentionTileRows];  // addresses of the rows of a tile and of the next one
  Softmax chunk[kAttentionHeads];       // in work
  Softmax whole[kAttentionHeads];       // of the chunks before
};
static_assert(sizeof(Table) <= kAttentionTableBytes);

// What a block of 16 heads works with.
struct Block {
  int first_head;
  bool active;  // the warp's slice has channels
  KeySlice keys;
  Exchange exchange;
  Table* table;
  QuerySlice q;
  V4I_DEVICE int own_head(int i) const { return warp() + i * kAttentionWarps; }  // of the group
};

V4I_DEVICE void find_rows(const SparseAttentionArgs& a, Table& table, int begin) {
  const int i = begin + lane();
  table.row[begin / kAttentionTileRows % 2][lane()] =
      i < table.rows.rows ? reinterpret_cast<uint64_t>(table.rows.row(a, i)) : 0;
}

// Work begins with the tile of row `begin`.
V4I_DEVICE Block block_of(const SparseAttentionArgs& a, int t, int group, const Candidates& rows,
                          int begin) {
  Block b;
  b.first_head = group * kAttentionHeads;
  b.active = warp() * kAttentionSlice < a.dim;
  uint4* keys = reinterpret_cast<uint4*>(shared_memory());
  constexpr int units = kAttentionTileRows * kAttentionSlice / 8;  // of a slice
  b.keys.unit = keys + warp() * units;
  b.exchange.sums = reinterpret_cast<float*>(keys + kAttentionWarps * units);
  b.table = reinterpret_cast<Table*>(b.exchange.at(kAttentionWarps, 0, 0));
  load_query(a, t, b.first_head, b.q);
  if (warp() == 0) {
    if (lane() == 0) b.table->rows = rows;
    if (lane() < kAttentionHeads) b.table->chunk[lane()] = b.table->whole[lane()] = {};
    warp_barrier();
    find_rows(a, *b.table, begin);
  }
  __syncthreads();
  return b;
}

// Logits of the tile: the warps' sums into shared memory.  The first barrier is for those that
// still read what the last tile left there.
V4I_DEVICE void share_logits(const Block& b) {
  float sum[4][4] = {};
  if (b.active) multiply_keys(b.q, b.keys, sum);
  __syncthreads();
  if (b.active) {
    const int l = lane_anew(), g = l / 4, row = l % 4 * 8;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      *reinterpret_cast<float4*>(b.exchange.at(warp(), g + i / 2 * 8, row + i % 2 * 4)) =
          make_float4(sum[0][i], sum[1][i], sum[2][i], sum[3][i]);
  }
  __syncthreads();
}

// Probabilities of the tile for the warp's own heads, relative to the largest logit of the chunk so
// far, and what earlier sums of the chunk are multiplied with.
V4I_DEVICE void share_probabilities(const SparseAttentionArgs& a, const Block& b, bool present) {
  const int slices = (a.dim + kAttentionSlice - 1) / kAttentionSlice, l = lane_anew();
#pragma unroll
  for (int i = 0; i < kOwnHeads; ++i) {
    const int head = b.own_head(i);
    float dot = 0;
    for (int s = 0; s < slices; ++s) dot = __fadd_rn(dot, *b.exchange.at(s, head, l));
    const float logit = present ? __fmul_rn(dot, a.scale) : -INFINITY;
    const Softmax before = b.table->chunk[head];
    const float top = fmaxf(before.top, warp_max(logit));
    const float p = expf(logit - top), by = expf(before.top - top);
    const float total = fmaf(before.total, by, warp_sum(p));
    warp_barrier();  // all lanes have read the sums
    b.exchange.probability(head, l) = encode_bf16(p);
    if (l == 0) {
      b.exchange.factor(0, head) = by;
      b.table->chunk[head] = {top, total};
    }
  }
  __syncthreads();
}

// Adds the tile of rows [begin, begin + 32).
template <int kSets>
V4I_DEVICE void add_tile(const SparseAttentionArgs& a, const Block& b, int begin, ValueSums& o) {
  if (warp() == 0) find_rows(a, *b.table, begin + kAttentionTileRows);
  if (b.active) {
    warp_barrier();  // all lanes have read the last tile
    load_keys<kSets>(a, b.keys, b.table->row[begin / kAttentionTileRows % 2]);
    warp_barrier();
  }
  share_logits(b);
  share_probabilities(a, b, begin + lane() < b.table->rows.rows);
  if (!b.active) return;
  const int g = lane_anew() / 4;
  const float by[2] = {b.exchange.factor(0, g), b.exchange.factor(0, g + 8)};
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) o.d[j][i] = __fmul_rn(o.d[j][i], by[i / 2]);
  add_values(b.exchange, b.keys, o);
}

// Calls f(head, channel, values of 4 channels) for what the lane has of `o`.
template <class F>
V4I_DEVICE void for_each_four(const SparseAttentionArgs& a, const Block& b, const ValueSums& o,
                              F f) {
  const int l = lane_anew();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int head = b.first_head + l / 4 + 8 * half;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = warp() * kAttentionSlice + 16 * i + l % 4 * 4;
      float x[4] = {o.at(half, i, 0), o.at(half, i, 1), o.at(half, i, 2), o.at(half, i, 3)};
      if (head < a.heads && c < a.dim) f(head, c, x);
    }
  }
}

}  // namespace

V4I_KERNEL(v4i_attention_few, SparseAttentionArgs, kAttentionWarps * 32, 2) {
  const int chunk = static_cast<int>(blockIdx.x), t = static_cast<int>(blockIdx.z);
  const Candidates rows = candidates_of(a, t);
  const Chunks chunks = chunks_of(rows.rows);
  if (chunk >= chunks.count) return;
  const int begin = chunk * chunks.rows, end = min(begin + chunks.rows, rows.rows);
  const Block b = block_of(a, t, static_cast<int>(blockIdx.y), rows, begin);
  ValueSums o;
  for (int i = begin; i < end; i += kAttentionTileRows) add_tile<2>(a, b, i, o);
  for_each_four(a, b, o, [&](int head, int channel, float(&x)[4]) {
    *reinterpret_cast<float4*>(partial_of(a, t, chunk, head).sums + channel) =
        make_float4(x[0], x[1], x[2], x[3]);
  });
  const int head = b.first_head + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kAttentionHeads && head < a.heads)
    *partial_of(a, t, chunk, head).softmax = b.table->chunk[threadIdx.x];
}

// A block: one head of one token.
V4I_KERNEL(v4i_attention_merge, SparseAttentionArgs, 128, 1) {
  const int head = static_cast<int>(blockIdx.x), t = static_cast<int>(blockIdx.y);
  const int chunks = chunks_of(candidates_of(a, t).rows).count;
  const int c = static_cast<int>(threadIdx.x) * 4;
  if (c >= a.dim) return;
  float o[4] = {};
  Softmax whole;
#pragma unroll 4
  for (int i = 0; i < chunks; ++i) {
    const Partial partial = partial_of(a, t, i, head);
    const float4 x = *reinterpret_cast<const float4*>(partial.sums + c);
    const Factors by = merge(whole, *partial.softmax);
    o[0] = merge(o[0], x.x, by), o[1] = merge(o[1], x.y, by);
    o[2] = merge(o[2], x.z, by), o[3] = merge(o[3], x.w, by);
  }
  finish(a, t, head, c, o, total_of(whole, a.sink[head]));
}

// A finished chunk becomes part of the whole.
V4I_DEVICE void add_chunk(const Block& b, const ValueSums& chunk, ValueSums& o) {
  if (threadIdx.x < kAttentionHeads) {
    const int head = static_cast<int>(threadIdx.x);
    const Factors by = merge(b.table->whole[head], b.table->chunk[head]);
    b.table->chunk[head] = {};
    b.exchange.factor(1, head) = by.whole;
    b.exchange.factor(2, head) = by.part;
  }
  __syncthreads();
  const int g = lane_anew() / 4;
  const Factors by[2] = {{b.exchange.factor(1, g), b.exchange.factor(2, g)},
                         {b.exchange.factor(1, g + 8), b.exchange.factor(2, g + 8)}};
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) o.d[j][i] = merge(o.d[j][i], chunk.d[j][i], by[i / 2]);
}

V4I_KERNEL(v4i_attention_many, SparseAttentionArgs, kAttentionWarps * 32, 2) {
  const int t = static_cast<int>(blockIdx.y);
  const Block b = block_of(a, t, static_cast<int>(blockIdx.x), candidates_of(a, t), 0);
  ValueSums o;
  for (int begin = 0; begin < b.table->rows.rows;) {
    ValueSums chunk;
    do {
      add_tile<1>(a, b, begin, chunk);
      begin += kAttentionTileRows;
    } while (begin < b.table->rows.rows && begin % chunks_of(b.table->rows.rows).rows != 0);
    add_chunk(b, chunk, o);
  }
  for_each_four(a, b, o, [&](int head, int channel, float(&x)[4]) {
    const Softmax whole = b.table->whole[head - b.first_head];
    finish(a, t, head, channel, x, total_of(whole, a.sink[head]));
  });
}

}  // namespace v4i::kernels::cuda
