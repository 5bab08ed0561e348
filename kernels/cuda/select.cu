// The best-scored rows of each token; see select.h.
//
// A score becomes an integer that rises with it.  The bar, the k-th highest of those integers, is
// found 11 bits at a time from a histogram; then every score above the bar is taken, and of those
// that equal it as many as are left, from the lowest row on.
#include "kernels/cuda/index_query.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/select.h"

namespace v4i::kernels::cuda {

namespace {

constexpr int kWarps = kSelectThreads / 32;
constexpr int kKeys = kSelectChunk / kSelectThreads;  // of a thread
constexpr int kDigits = 2048;

struct Shared {
  uint32_t histogram[kDigits];
  uint32_t total[2][kWarps];  // sums of warps
  uint32_t digit, above;      // what find_digit() found
};
static_assert(sizeof(Shared) <= kSelectSharedBytes);

// `bits`: those of a score that are not zero in all of them.
V4I_DEVICE uint32_t key_of(float score, uint32_t bits) {
  const uint32_t u = to_bits(score + 0.0f);  // one zero
  return ((u & 0x80000000u) != 0 ? ~u : u | 0x80000000u) & bits;
}

// Warps own neighbouring scores: key j of a lane is score base + place(j).
V4I_DEVICE int place(int j) { return (warp() * kKeys + j) * 32 + lane(); }

// The scores to choose from.
struct Scores {
  const float* score;
  int n;
  uint32_t bits;
};

// Scores from n on have key 0, which is below every other.
V4I_DEVICE void load(const Scores& a, int base, uint32_t (&key)[kKeys]) {
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    const int i = base + place(j);
    key[j] = i < a.n ? key_of(a.score[i], a.bits) : 0;
  }
}

// Sum over the lanes before this one, and over all in `all`.
V4I_DEVICE uint32_t sum_before(uint32_t v, uint32_t& all) {
  uint32_t sum = v;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const uint32_t other = shuffle(sum, lane() - d < 0 ? lane() : lane() - d);
    if (lane() >= d) sum += other;
  }
  all = shuffle(sum, 31);
  return sum - v;
}

// Sum of total[w] over the warps before this one, and over all in `all`.
V4I_DEVICE uint32_t before_warp(const uint32_t* total, uint32_t& all) {
  return shuffle(sum_before(total[lane()], all), warp());
}

// From the histogram: the highest digit such that `wanted` keys have it or a higher one, and how
// many have a higher one.  Thread i has digits kDigits - 1 - 2i and the one below.
V4I_DEVICE void find_digit(Shared& s, uint32_t wanted) {
  const int high = kDigits - 1 - 2 * static_cast<int>(threadIdx.x);
  const uint32_t at_high = s.histogram[high], at_low = s.histogram[high - 1];
  uint32_t all;
  uint32_t above = sum_before(at_high + at_low, all);
  if (lane() == 0) s.total[0][warp()] = all;
  __syncthreads();
  above += before_warp(s.total[0], all);
  const uint32_t above_low = above + at_high;
  if (above < wanted && wanted <= above_low) {
    s.digit = static_cast<uint32_t>(high);
    s.above = above;
  } else if (above_low < wanted && wanted <= above_low + at_low) {
    s.digit = static_cast<uint32_t>(high - 1);
    s.above = above_low;
  }
  __syncthreads();
}

// What is taken: every key above the bar, and the first `ties` that equal it.
struct Bar {
  uint32_t key, ties;
};

// Bits [shift, shift + bits) of the bar, the higher ones being known.
V4I_DEVICE void refine(Shared& s, const Scores& a, uint32_t (&key)[kKeys], int shift, int bits,
                       Bar& bar) {
  for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kSelectThreads) s.histogram[i] = 0;
  __syncthreads();
  const uint32_t known = shift + bits == 32 ? 0 : ~0u << (shift + bits);
  for (int base = 0; base < a.n; base += kSelectChunk) {
    if (a.n > kSelectChunk) load(a, base, key);
#pragma unroll
    for (int j = 0; j < kKeys; ++j)
      if (key[j] != 0 && ((key[j] ^ bar.key) & known) == 0)
        atomic_add(&s.histogram[key[j] >> shift & ((1u << bits) - 1)], 1u);
  }
  __syncthreads();
  find_digit(s, bar.ties);
  bar.key |= s.digit << shift;
  bar.ties -= s.above;
}

// Where the choice goes: scores (if not null) and row numbers, in rising order of rows.
struct Chosen {
  float* score;
  int32_t* row;
};

// The `wanted` best of the scores, wanted <= a.n.  Score i is that of row first + i, or of rows[i].
V4I_DEVICE void select(const Scores& a, uint32_t wanted, const int32_t* rows, int first,
                       const Chosen& out) {
  Shared& s = *reinterpret_cast<Shared*>(shared_memory());
  uint32_t key[kKeys];
  load(a, 0, key);
  Bar bar = {0, wanted};
  refine(s, a, key, 21, 11, bar);
  refine(s, a, key, 10, 11, bar);
  if ((a.bits & 0x3ff) != 0) refine(s, a, key, 0, 10, bar);

  uint32_t over_before = 0, equal_before = 0;  // in earlier chunks
  for (int base = 0; base < a.n; base += kSelectChunk) {
    if (a.n > kSelectChunk) load(a, base, key);
    uint32_t over = 0, equal = 0;
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      over += static_cast<uint32_t>(__popc(ballot(key[j] > bar.key)));
      equal += static_cast<uint32_t>(__popc(ballot(key[j] == bar.key)));
    }
    __syncthreads();
    if (lane() == 0) {
      s.total[0][warp()] = over;
      s.total[1][warp()] = equal;
    }
    __syncthreads();
    uint32_t all_over, all_equal;
    over = over_before + before_warp(s.total[0], all_over);
    equal = equal_before + before_warp(s.total[1], all_equal);
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      const uint32_t is_over = ballot(key[j] > bar.key), is_equal = ballot(key[j] == bar.key);
      const uint32_t lower = (1u << lane()) - 1;
      const uint32_t o = over + static_cast<uint32_t>(__popc(is_over & lower));
      const uint32_t e = equal + static_cast<uint32_t>(__popc(is_equal & lower));
      if (key[j] > bar.key || (key[j] == bar.key && e < bar.ties)) {
        const int i = base + place(j);
        const uint32_t rank = o + min(e, bar.ties);
        out.row[rank] = rows != nullptr ? rows[i] : first + i;
        if (out.score != nullptr) out.score[rank] = a.score[i];
      }
      over += static_cast<uint32_t>(__popc(is_over));
      equal += static_cast<uint32_t>(__popc(is_equal));
    }
    over_before += all_over;
    equal_before += all_equal;
  }
}

// bfloat16 values when native.
V4I_DEVICE uint32_t score_bits(const IndexShape& s) { return s.native != 0 ? ~0xffffu : ~0u; }

}  // namespace

// Blocks: token, chunk.
V4I_KERNEL(v4i_top_rows, TopRowsArgs, kSelectThreads, 1) {
  const IndexShape& s = a.shape;
  const int64_t t = blockIdx.x;
  const int rows = visible_rows(s, a.token[t]), base = static_cast<int>(blockIdx.y) * kSelectChunk;
  if (rows <= s.topk || base >= rows) return;
  const int n = min(rows - base, kSelectChunk), most = min(s.topk, kSelectChunk);
  const int64_t to = t * a.candidate_stride + int64_t{blockIdx.y} * most;
  Chosen out = {a.candidate_score + to, a.candidate_row + to};
  if (rows <= kSelectChunk) out = {nullptr, a.selected + t * s.topk};
  select({a.score + t * a.score_stride + base, n, score_bits(s)},
         static_cast<uint32_t>(min(n, most)), nullptr, base, out);
}

// Blocks: token.
V4I_KERNEL(v4i_top_rows_merge, TopRowsArgs, kSelectThreads, 1) {
  const IndexShape& s = a.shape;
  const int64_t t = blockIdx.x, from = t * a.candidate_stride;
  const int rows = visible_rows(s, a.token[t]);
  if (rows <= s.topk || rows <= kSelectChunk) return;
  const auto n = static_cast<int>(top_rows_candidates(rows, s.topk));
  select({a.candidate_score + from, n, score_bits(s)}, static_cast<uint32_t>(s.topk),
         a.candidate_row + from, 0, {nullptr, a.selected + t * s.topk});
}

}  // namespace v4i::kernels::cuda
