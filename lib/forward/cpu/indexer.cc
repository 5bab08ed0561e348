// The indexer: which compressed rows a query of a CSA layer reads.  Spec 2.6.
//
// Ties go to the lower row.  Queries that see no more than index_topk rows read all
// of them, and their scores are not computed.
#include <algorithm>
#include <cmath>

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
  p.pool.run(n * pieces, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t t = u / pieces, first = u % pieces * kHeads;
      if (first < c.index_heads) {
        p.kernels.index_heads({w.iq.data() + t * width + first * dim,
                               std::min(kHeads, c.index_heads - first), static_cast<int>(dim),
                               static_cast<int>(c.rope_dim), rope_row(p, plan, t), 0, p.native});
        continue;
      }
      float* weight = w.iw.data() + t * c.index_heads;
      for (std::int64_t h = 0; h < c.index_heads; ++h) weight[h] *= scale;
      p.round(weight, c.index_heads);
    }
  });
}

// Adds rows [begin, end), begin a multiple of the block, to the best of each of `count` tokens
// of one item from t on, and drops what a token does not see.
void score(const Pass& p, const model::LayerPlan& plan, int kv_layer, std::int64_t t,
           std::int64_t count, std::int64_t begin, std::int64_t end, ThreadScratch& scratch,
           TopK* best) {
  const model::Config& c = p.config;
  const kv::State& state = p.state(t);
  const kv::Layout& layout = state.layout();
  const std::int64_t block = layout.rows_per_block;
  const std::int64_t piece = std::max<std::int64_t>(1, Workspace::kIndexKeys / block) * block;
  for (std::int64_t j = begin; j < end; j += piece) {
    const std::int64_t n = std::min(piece, end - j);
    for (std::int64_t b = 0; b * block < n; ++b)
      scratch.blocks[static_cast<std::size_t>(b)] = reinterpret_cast<const std::uint8_t*>(
          state.row(kv_layer, kv::RowKind::kIndex, j + b * block));
    p.kernels.index_scores({static_cast<int>(c.index_dim), static_cast<int>(c.index_heads),
                            p.native, scratch.blocks.data(), block, n,
                            static_cast<std::int64_t>(layout.key.bytes()), static_cast<int>(count),
                            p.w.iq.data() + t * c.index_heads * c.index_dim,
                            p.w.iw.data() + t * c.index_heads, scratch.scores.data(), piece,
                            p.native, scratch.index.data()});
    for (std::int64_t i = 0; i < count; ++i)
      best[i].add(scratch.scores.data() + i * piece, std::min(n, visible_rows(p, plan, t + i) - j),
                  j);
  }
}

// One query: the threads share its keys, and the best of each are merged.
void choose_together(Pass& p, const model::LayerPlan& plan, int kv_layer, std::int64_t t) {
  Workspace& w = p.w;
  const std::int64_t topk = p.config.index_topk, rows = visible_rows(p, plan, t);
  const std::int64_t block = p.layout().rows_per_block;
  for (ThreadScratch& s : p.threads) s.best[0] = TopK(s.candidates.data(), topk);
  p.pool.run((rows + block - 1) / block, [&](std::int64_t begin, std::int64_t end, int thread) {
    ThreadScratch& scratch = p.threads[static_cast<std::size_t>(thread)];
    score(p, plan, kv_layer, t, 1, begin * block, std::min(end * block, rows), scratch,
          scratch.best);
    scratch.best[0].keep_best();
  });
  TopK& best = p.threads[0].best[0];
  for (std::size_t i = 1; i < p.threads.size(); ++i) best.add(p.threads[i].best[0]);
  best.rows(w.selected.data() + t * topk);
}

// Queries [begin, end) on one thread; neighbours in a sequence share the decoded keys.
void choose_each(Pass& p, const model::LayerPlan& plan, int kv_layer, std::int64_t begin,
                 std::int64_t end, ThreadScratch& scratch) {
  const std::int64_t topk = p.config.index_topk;
  for (std::int64_t t = begin; t < end;) {
    std::int64_t n = 1;
    while (t + n < end && n < Workspace::kIndexQueries && p.token(t + n).item == p.token(t).item)
      ++n;
    const std::int64_t rows = visible_rows(p, plan, t + n - 1);
    if (rows > topk) {
      for (std::int64_t i = 0; i < n; ++i)
        scratch.best[i] = TopK(scratch.candidates.data() + i * TopK::room_for(topk), topk);
      score(p, plan, kv_layer, t, n, 0, rows, scratch, scratch.best);
      for (std::int64_t i = 0; i < n; ++i)
        if (visible_rows(p, plan, t + i) > topk)
          scratch.best[i].rows(p.w.selected.data() + (t + i) * topk);
    }
    t += n;
  }
}

}  // namespace

void select_rows(Pass& p, const LayerOf& layer) {
  const model::LayerPlan& plan = layer.plan;
  const int kv_layer = layer.kv;
  const std::int64_t topk = p.config.index_topk;
  bool needed = false;
  for (std::int64_t t = 0; t < p.n(); ++t) needed = needed || visible_rows(p, plan, t) > topk;
  if (!needed) return;
  queries(p, layer.block.attn, plan);
  if (p.n() < 2 * p.pool.size()) {
    for (std::int64_t t = 0; t < p.n(); ++t)
      if (visible_rows(p, plan, t) > topk) choose_together(p, plan, kv_layer, t);
    return;
  }
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int thread) {
    choose_each(p, plan, kv_layer, begin, end, p.threads[static_cast<std::size_t>(thread)]);
  });
}

}  // namespace v4i::forward::cpu
