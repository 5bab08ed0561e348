// The indexer: which compressed rows a query of a CSA layer reads.  Spec 2.6; V4.1's 3.3.
//
// Ties go to the lower row.  Queries that see no more than index_topk rows read all
// of them, and their scores are not computed.
//
// In V4.1 one layer publishes candidates besides: the blocks of rows with the best scores.  Later
// layers score the rows of these blocks alone.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/forward/cpu/pass.h"
#include "lib/forward/cpu/topk.h"

namespace v4i::forward::cpu {

namespace {

constexpr std::int64_t kHeads = 8;  // of a query, in one piece of work

std::int64_t visible_rows(const Pass& p, const model::LayerPlan& plan, std::int64_t t) {
  return (p.token(t).position + 1) / plan.ratio;
}

// iq [heads, dim] rotated and, in native, rounded as stored keys are; iw [heads].
void queries(Pass& p, const model::Attention& a, const model::LayerPlan& plan) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t n = p.n(), dim = c.index_dim, width = c.index_heads * dim;
  const float* qr = p.fp8_inputs() ? w.qrq.data() : w.qr.data();
  linear(p, a.indexer.wq_b, qr, c.q_lora, n, w.iq.data(), width, true);
  linear(p, a.indexer.weights_proj, w.x.data(), c.width, n, w.iw.data(), c.index_heads, true);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)) /
                                        std::sqrt(static_cast<double>(c.index_heads)));
  const std::int64_t pieces = (c.index_heads + kHeads - 1) / kHeads + 1;  // the last: weights
  p.pool.run(
      n * pieces, element_work(n * width * 4), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t u = begin; u < end; ++u) {
          const std::int64_t t = u / pieces, first = u % pieces * kHeads;
          if (first < c.index_heads) {
            p.kernels.index_heads({w.iq.data() + t * width + first * dim,
                                   std::min(kHeads, c.index_heads - first), static_cast<int>(dim),
                                   static_cast<int>(c.rope_dim), rope_row(p, plan, t), 0, p.native,
                                   plan.attention == model::AttentionKind::kCsa2});
            continue;
          }
          float* weight = w.iw.data() + t * c.index_heads;
          for (std::int64_t h = 0; h < c.index_heads; ++h) weight[h] *= scale;
          p.round(weight, c.index_heads);
        }
      });
}

// A layer's selection, of one pass.
struct Selection {
  Pass& p;
  const model::LayerPlan& plan;
  const int kv_layer;
  const std::int64_t topk = p.config.index_topk;
  const std::int64_t most_blocks = p.config.candidate_blocks;
  const std::int64_t block_rows = p.config.candidate_block_rows;

  bool publishes() const { return plan.publishes_candidates; }
  bool of_candidates() const { return plan.candidates_from >= 0; }
  std::int64_t rows(std::int64_t t) const { return visible_rows(p, plan, t); }
  std::int32_t* blocks(std::int64_t t) const { return p.w.blocks.data() + t * most_blocks; }
};

// Scores of `count` tokens of one item from t on, over n keys that lie at scratch.blocks, `keys` in
// each.
void score_keys(const Selection& s, std::int64_t t, std::int64_t count, std::int64_t n,
                std::int64_t keys, std::int64_t stride, ThreadScratch& scratch) {
  const model::Config& c = s.p.config;
  s.p.kernels.index_scores(
      {static_cast<int>(c.index_dim), static_cast<int>(c.index_heads), s.p.native,
       scratch.blocks.data(), keys, n, static_cast<std::int64_t>(s.p.layout().key.bytes()),
       static_cast<int>(count), s.p.w.iq.data() + t * c.index_heads * c.index_dim,
       s.p.w.iw.data() + t * c.index_heads, scratch.scores.data(), stride, s.p.native,
       scratch.index.data()});
}

// Adds the best score of each block of [begin, end), begin a multiple of the block, to a token that
// sees `visible` rows.  The block with the newest row is always among the best.
void add_blocks(const Selection& s, const float* score, std::int64_t begin, std::int64_t end,
                std::int64_t visible, TopK& best) {
  for (std::int64_t j = begin; j < std::min(end, visible); j += s.block_rows) {
    const std::int64_t last = std::min({j + s.block_rows, end, visible});
    float top = *std::max_element(score + (j - begin), score + (last - begin));
    if (visible <= j + s.block_rows) top = INFINITY;
    best.add(&top, 1, j / s.block_rows);
  }
}

// Adds rows [begin, end), begin a multiple of index_unit(), to the best of each of `count` tokens
// of one item from t on, and drops what a token does not see.
void score(const Selection& s, std::int64_t t, std::int64_t count, std::int64_t begin,
           std::int64_t end, ThreadScratch& scratch) {
  const kv::State& state = s.p.state(t);
  const std::int64_t block = state.layout().rows_per_block;
  const std::int64_t piece = index_piece(s.p.config, block);
  for (std::int64_t j = begin; j < end; j += piece) {
    const std::int64_t n = std::min(piece, end - j);
    for (std::int64_t b = 0; b * block < n; ++b)
      scratch.blocks[static_cast<std::size_t>(b)] = reinterpret_cast<const std::uint8_t*>(
          state.row(s.kv_layer, kv::RowKind::kIndex, j + b * block));
    score_keys(s, t, count, n, block, piece, scratch);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* scores = scratch.scores.data() + i * piece;
      scratch.best[i].add(scores, std::min(n, s.rows(t + i) - j), j);
      if (s.publishes()) add_blocks(s, scores, j, j + n, s.rows(t + i), scratch.best_blocks[i]);
    }
  }
}

// Adds the rows of candidates [begin, end) of token t to scratch.best[0].  Only the last candidate
// may have rows that the token does not see.
void score_candidates(const Selection& s, std::int64_t t, std::int64_t begin, std::int64_t end,
                      ThreadScratch& scratch) {
  const kv::State& state = s.p.state(t);
  const std::int64_t block = state.layout().rows_per_block, visible = s.rows(t);
  const std::int64_t part = std::gcd(block, s.block_rows);  // keys that lie side by side
  const std::int64_t piece = index_piece(s.p.config, block), step = piece / s.block_rows;
  const std::int32_t* candidate = s.blocks(t);
  for (std::int64_t b = begin; b < end; b += step) {
    const std::int64_t last = std::min(b + step, end);
    std::int64_t n = 0;
    std::size_t parts = 0;
    for (std::int64_t i = b; i < last; ++i) {
      const std::int64_t first = candidate[i] * s.block_rows;
      const std::int64_t rows = std::min(s.block_rows, visible - first);
      for (std::int64_t r = 0; r < rows; r += part)
        scratch.blocks[parts++] = reinterpret_cast<const std::uint8_t*>(
            state.row(s.kv_layer, kv::RowKind::kIndex, first + r));
      n += rows;
    }
    score_keys(s, t, 1, n, part, piece, scratch);
    for (std::int64_t i = b; i < last; ++i) {
      const std::int64_t first = candidate[i] * s.block_rows;
      scratch.best[0].add(scratch.scores.data() + (i - b) * s.block_rows,
                          std::min(s.block_rows, visible - first), first);
    }
  }
}

void begin_best(const Selection& s, ThreadScratch& scratch, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    scratch.best[i] = TopK(scratch.candidates.data() + i * TopK::room_for(s.topk), s.topk);
    if (s.publishes())
      scratch.best_blocks[i] =
          TopK(scratch.block_candidates.data() + i * TopK::room_for(s.most_blocks), s.most_blocks);
  }
}

void keep_best(const Selection& s, std::int64_t t, TopK& best, TopK& best_blocks) {
  best.rows(s.p.w.selected.data() + t * s.topk);
  if (s.publishes())
    s.p.w.block_count[static_cast<std::size_t>(t)] =
        static_cast<std::int32_t>(best_blocks.rows(s.blocks(t)));
}

// Of the scores of token t.
std::int64_t key_work(const Selection& s, std::int64_t t) {
  const model::Config& c = s.p.config;
  const std::int64_t rows =
      s.of_candidates() ? s.p.w.block_count[static_cast<std::size_t>(t)] * s.block_rows : s.rows(t);
  return product_work(rows, c.index_dim, c.index_heads);
}

// One query: the threads share its keys, each by rising row (TopK), and the best are merged.
void choose_together(const Selection& s, std::int64_t t) {
  Pass& p = s.p;
  const std::int64_t rows = s.rows(t), unit = index_unit(p.config, p.layout().rows_per_block);
  const std::int64_t units =
      s.of_candidates() ? p.w.block_count[static_cast<std::size_t>(t)] : (rows + unit - 1) / unit;
  for (ThreadScratch& scratch : p.threads) begin_best(s, scratch, 1);
  p.pool.run_rising(units, key_work(s, t), [&](std::int64_t begin, std::int64_t end, int thread) {
    ThreadScratch& scratch = p.threads[static_cast<std::size_t>(thread)];
    if (s.of_candidates())
      score_candidates(s, t, begin, end, scratch);
    else
      score(s, t, 1, begin * unit, std::min(end * unit, rows), scratch);
    scratch.best[0].keep_best();
    if (s.publishes()) scratch.best_blocks[0].keep_best();
  });
  ThreadScratch& all = p.threads[0];
  for (std::size_t i = 1; i < p.threads.size(); ++i) {
    all.best[0].add(p.threads[i].best[0]);
    if (s.publishes()) all.best_blocks[0].add(p.threads[i].best_blocks[0]);
  }
  keep_best(s, t, all.best[0], all.best_blocks[0]);
}

// Queries [begin, end) on one thread; neighbours in a sequence share the decoded keys, unless each
// has its own candidates.
void choose_each(const Selection& s, std::int64_t begin, std::int64_t end, ThreadScratch& scratch) {
  const Pass& p = s.p;
  const std::int64_t most = s.of_candidates() ? 1 : Workspace::kIndexQueries;
  for (std::int64_t t = begin; t < end;) {
    std::int64_t n = 1;
    while (t + n < end && n < most && p.token(t + n).item == p.token(t).item) ++n;
    const std::int64_t rows = s.rows(t + n - 1);
    if (rows > s.topk) {
      begin_best(s, scratch, n);
      if (s.of_candidates())
        score_candidates(s, t, 0, p.w.block_count[static_cast<std::size_t>(t)], scratch);
      else
        score(s, t, n, 0, rows, scratch);
      for (std::int64_t i = 0; i < n; ++i)
        if (s.rows(t + i) > s.topk) keep_best(s, t + i, scratch.best[i], scratch.best_blocks[i]);
    }
    t += n;
  }
}

}  // namespace

void select_rows(Pass& p, const LayerOf& layer) {
  const Selection s{p, layer.plan, layer.kv};
  bool needed = false;
  for (std::int64_t t = 0; t < p.n(); ++t) needed = needed || s.rows(t) > s.topk;
  if (!needed) return;
  queries(p, layer.block.attn, layer.plan);
  if (p.n() < 2 * p.pool.at_once()) {
    for (std::int64_t t = 0; t < p.n(); ++t)
      if (s.rows(t) > s.topk) choose_together(s, t);
    return;
  }
  std::int64_t work = 0;
  for (std::int64_t t = 0; t < p.n(); ++t) work += key_work(s, t);
  constexpr std::int64_t kTogether = Workspace::kIndexQueries;
  const std::int64_t groups = (p.n() + kTogether - 1) / kTogether;
  p.pool.run(groups, work, [&](std::int64_t begin, std::int64_t end, int thread) {
    choose_each(s, begin * kTogether, std::min(end * kTogether, p.n()),
                p.threads[static_cast<std::size_t>(thread)]);
  });
}

}  // namespace v4i::forward::cpu
