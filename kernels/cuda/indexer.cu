// Scores of queries against packed keys on tensor cores; see indexer.h.
#include "kernels/cuda/index_query.cuh"
#include "kernels/cuda/indexer.h"

namespace v4i::kernels::cuda {

namespace {

// Tokens are taken in groups of kIndexGroup.  In a group, neighbours of one sequence share the keys
// that are decoded: a piece of work is a tile of keys and those tokens.
struct Group {
  int rows[kIndexGroup];         // that a token sees; 0: it needs no scores
  int end[kIndexGroup];          // the first token behind the neighbours of its sequence
  int first_block[kIndexGroup];  // of keys
};
static_assert(sizeof(Group) <= kIndexGroupBytes);

// By all threads of the block.
V4I_DEVICE void find_group(const IndexScoresArgs& a, Group& group) {
  const int t = static_cast<int>(threadIdx.x);
  if (t < kIndexGroup) {
    const Token* token = a.token + int64_t{blockIdx.y} * kIndexGroup;
    const int count = min(kIndexGroup, a.tokens - static_cast<int>(blockIdx.y) * kIndexGroup);
    const int rows = t < count ? visible_rows(a.shape, token[t]) : 0;
    const int sequence = t < count ? token[t].sequence : -1;
    int end = t + 1;
    while (end < count && token[end].sequence == sequence) ++end;
    group.rows[t] = rows > a.shape.topk ? rows : 0;
    group.end[t] = end;
    group.first_block[t] = t < count ? a.keys.first[sequence] : 0;
  }
  __syncthreads();
}

// A piece and one of its tokens.
struct Step {
  int piece;
  int token, end;  // of the group; end 0: there is no such piece
  int row;         // the first of the tile
};

// Piece `piece` with its first token.  The last token of neighbours sees the most rows.
V4I_DEVICE Step find_piece(const Group& group, int piece) {
  int index = piece;
  for (int t = 0; t < kIndexGroup; t = group.end[t]) {
    const int end = group.end[t], tiles = (group.rows[end - 1] + kIndexTile - 1) / kIndexTile;
    if (index < tiles) return {piece, t, end, index * kIndexTile};
    index -= tiles;
  }
  return {piece, 0, 0, 0};
}

// The first token of the piece from `token` on that has scores in the tile; else the next piece.
V4I_DEVICE Step step_from(const Group& group, Step s) {
  while (s.end != 0) {
    for (; s.token < s.end; ++s.token)
      if (s.row < group.rows[s.token]) return s;
    s = find_piece(group, s.piece + static_cast<int>(gridDim.x));
  }
  return s;
}

// 32 keys as the left side of multiplications: 2 tiles of 16 keys, 8 steps of 16 channels.
using Keys = uint32_t[2][8][4];

// Where keys row + 8m + g are, for m < 4 and lane 4g + t; in place of those from `rows` on, the
// last.
V4I_DEVICE void find_keys(const BlockTable& table, int first_block, int row, int rows,
                          const uint8_t* (&key)[4]) {
  const int g = lane() / 4, per_block = table.rows_per_block, within = row % per_block;
  uint8_t* const* block = table.block + first_block;
  if (within + 32 <= per_block) {
    const uint8_t* first = block[row / per_block] + within * table.row_bytes;
#pragma unroll
    for (int m = 0; m < 4; ++m) key[m] = first + min(8 * m + g, rows - 1 - row) * table.row_bytes;
    return;
  }
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const int r = min(row + 8 * m + g, rows - 1);
    key[m] = block[r / per_block] + r % per_block * table.row_bytes;
  }
}

// Keys row ... row + 31 of a sequence whose blocks begin at `first_block`.
V4I_DEVICE void load_keys(const BlockTable& table, int first_block, int row, int rows, Keys& keys) {
  const int t = lane() % 4;
  const uint8_t* key[4];
  find_keys(table, first_block, row, rows, key);
  uint32_t code[4][4];
  uint8_t scale[4];
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    scale[m] = key[m][kIndexDim / 2 + t];
#pragma unroll
    for (int i = 0; i < 4; ++i) code[m][i] = reinterpret_cast<const uint32_t*>(key[m])[4 * t + i];
  }
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const uint32_t power = bf16_power_of_two(scale[m]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t pair[4];
      fp4_to_bf16(code[m][i], pair);
#pragma unroll
      for (int j = 0; j < 4; ++j)  // channels 4j/2 ... of step 2i + j/2
        keys[m / 2][2 * i + j / 2][j % 2 * 2 + m % 2] = multiply_bf16(pair[j], power);
    }
  }
}

// Scores of 32 keys for one token: lane 8m + g (m < 4, g < 8) ... returns that of key `lane()`.
V4I_DEVICE float score_keys(const IndexShape& s, const Keys& keys, const unsigned char* query) {
  const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
  const auto* heads = reinterpret_cast<const uint4*>(query) + lane();
  const auto* weights =
      reinterpret_cast<const uint32_t*>(query + query_weights_place(s)) + lane() % 4;
  float sum[2][4] = {};
  for (int pair = 0; pair < padded_heads(s) / 16; ++pair) {
    float dot[2][2][4] = {};  // [keys][heads]
#pragma unroll
    for (int half = 0; half < 4; ++half) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint4 b = heads[((2 * pair + h) * 4 + half) * 32];
        const uint32_t even[2] = {b.x, b.y}, odd[2] = {b.z, b.w};
#pragma unroll
        for (int m = 0; m < 2; ++m) mma_bf16(dot[m][h], keys[m][2 * half], even);
#pragma unroll
        for (int m = 0; m < 2; ++m) mma_bf16(dot[m][h], keys[m][2 * half + 1], odd);
      }
    }
    const uint32_t w[2] = {weights[8 * pair], weights[8 * pair + 4]};
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint32_t product[4];  // of 16 keys and 16 heads, as the left side of a multiplication
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* d = dot[m][i / 2] + i % 2 * 2;
        product[i] = multiply_bf16(pack_relu_bf16(d[0], d[1]), w[i / 2]);
      }
      mma_bf16(sum[m], product, ones);
    }
  }
  // All columns of the sums are equal: lane 4g + t keeps that of key 8t + g.
  const int t = lane() % 4;
  return round_bf16(t == 0 ? sum[0][0] : t == 1 ? sum[0][2] : t == 2 ? sum[1][0] : sum[1][2]);
}

V4I_DEVICE void copy_query(const IndexScoresArgs& a, int token, unsigned char* to) {
  const auto bytes = static_cast<int>(index_query_bytes(a.shape));
  const uint8_t* from = a.query + (int64_t{blockIdx.y} * kIndexGroup + token) * bytes;
  for (int i = static_cast<int>(threadIdx.x) * 16; i < bytes; i += kIndexTile * 16)
    copy16_async(to + i, from + i);
  copy_commit();
}

V4I_DEVICE void store_score(const IndexScoresArgs& a, int token, int row, float score) {
  a.score[(int64_t{blockIdx.y} * kIndexGroup + token) * a.score_stride + row] = score;
}

}  // namespace

// Blocks: share of the pieces, group of tokens.  A warp: 32 keys of a tile.  Shared memory: the
// group, then the query in work and the next one.
V4I_KERNEL(v4i_index_scores, IndexScoresArgs, kIndexTile, 2) {
  Group& group = *reinterpret_cast<Group*>(shared_memory());
  find_group(a, group);
  Step step = step_from(group, find_piece(group, static_cast<int>(blockIdx.x)));
  if (step.end == 0) return;
  const auto bytes = static_cast<int>(index_query_bytes(a.shape));
  unsigned char* queries = shared_memory() + kIndexGroupBytes;
  int at = 0;  // of the query in work; the other one: bytes - at
  copy_query(a, step.token, queries);
  bool arrives = true;    // the query does, and is not waited for yet
  bool new_piece = true;  // whose keys are not in registers yet
  Keys keys;
  while (step.end != 0) {
    const int row = step.row + warp() * 32;
    if (new_piece && row < group.rows[step.end - 1])
      load_keys(a.keys, group.first_block[step.token], row, group.rows[step.end - 1], keys);
    if (arrives) {
      copy_wait<0>();
      __syncthreads();  // and no warp reads the other query any more
    }
    Step next = step;
    ++next.token;
    next = step_from(group, next);
    arrives = next.end != 0 && next.token != step.token;
    if (arrives) copy_query(a, next.token, queries + (bytes - at));
    if (row < group.rows[step.token]) {
      const float score = score_keys(a.shape, keys, queries + at);
      const int key = row + lane() % 4 * 8 + lane() / 4;
      if (key < group.rows[step.token]) store_score(a, step.token, key, score);
    }
    if (arrives) at = bytes - at;
    new_piece = next.piece != step.piece;
    step = next;
  }
}

}  // namespace v4i::kernels::cuda
