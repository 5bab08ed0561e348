// The indexer: which compressed rows a query of a CSA layer reads.  Spec 2.6.
//
// Ties go to the lower row.  Queries that see no more than index_topk rows read all
// of them, and their scores are not computed.
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

std::int64_t visible_rows(const Pass& p, const model::LayerPlan& plan, std::int64_t t) {
  return (p.tokens[static_cast<std::size_t>(t)].position + 1) / plan.ratio;
}

// iq [heads, dim] rotated and, in native, rounded as stored keys are; iw [heads].
void queries(Pass& p, const model::Attention& a, const model::LayerPlan& plan) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t n = p.n(), dim = c.index_dim, width = c.index_heads * dim;
  const float* qr = p.native ? w.qrq.data() : w.qr.data();
  linear(p, a.indexer.wq_b, qr, c.q_lora, n, w.iq.data(), width, true);
  linear(p, a.indexer.weights_proj, w.x.data(), c.width, n, w.iw.data(), c.index_heads, true);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)) /
                                        std::sqrt(static_cast<double>(c.index_heads)));
  p.pool.run(n, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < c.index_heads; ++h) {
        float* q = w.iq.data() + t * width + h * dim;
        kernels::rope(q + dim - c.rope_dim, rope_row(p, plan, t), c.rope_dim, false);
        p.round(q + dim - c.rope_dim, c.rope_dim);
        if (!p.native) continue;
        kernels::hadamard(q, dim);
        p.round(q, dim);
        kernels::fp4_sim(q, q, dim, 32);
      }
      float* weight = w.iw.data() + t * c.index_heads;
      for (std::int64_t h = 0; h < c.index_heads; ++h) weight[h] *= scale;
      p.round(weight, c.index_heads);
    }
  });
}

// Scores of rows [begin, end) against token t, block by block.
void score(const Pass& p, int kv_layer, std::int64_t t, std::int64_t begin, std::int64_t end,
           float* scores) {
  const model::Config& c = p.config;
  const kv::State& state = p.state(p.tokens[static_cast<std::size_t>(t)]);
  const kv::Layout& layout = state.layout();
  const std::int64_t block = layout.rows_per_block, width = c.index_heads * c.index_dim;
  for (std::int64_t j = begin; j < end;) {
    const std::int64_t count = std::min(end, (j / block + 1) * block) - j;
    const std::byte* keys = state.row(kv_layer, kv::RowKind::kIndex, j);
    p.kernels.index_scores({static_cast<int>(c.index_dim), static_cast<int>(c.index_heads),
                            p.native, reinterpret_cast<const std::uint8_t*>(keys), count,
                            static_cast<std::int64_t>(layout.key.bytes()),
                            p.w.iq.data() + t * width, p.w.iw.data() + t * c.index_heads,
                            scores + j, p.native});
    j += count;
  }
}

// The topk best of `count` scores, by rising row.
void choose(const float* scores, std::int64_t count, std::int64_t topk, std::int32_t* order,
            std::int32_t* out) {
  for (std::int64_t j = 0; j < count; ++j) order[j] = static_cast<std::int32_t>(j);
  std::nth_element(order, order + topk - 1, order + count,
                   [scores](std::int32_t a, std::int32_t b) {
                     return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
                   });
  std::copy(order, order + topk, out);
  std::sort(out, out + topk);
}

}  // namespace

void select_rows(Pass& p, const model::Attention& a, const model::LayerPlan& plan, int kv_layer) {
  Workspace& w = p.w;
  const std::int64_t topk = p.config.index_topk;
  bool needed = false;
  for (std::int64_t t = 0; t < p.n(); ++t) needed = needed || visible_rows(p, plan, t) > topk;
  if (!needed) return;
  queries(p, a, plan);
  if (p.n() > 1) {  // many queries: each thread takes whole queries
    p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int thread) {
      ThreadScratch& scratch = w.threads[static_cast<std::size_t>(thread)];
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t rows = visible_rows(p, plan, t);
        if (rows <= topk) continue;
        score(p, kv_layer, t, 0, rows, scratch.scores.data());
        choose(scratch.scores.data(), rows, topk, scratch.order.data(),
               w.selected.data() + t * topk);
      }
    });
    return;
  }
  // One query: the threads share its keys.
  ThreadScratch& scratch = w.threads[0];
  const std::int64_t rows = visible_rows(p, plan, 0);
  p.pool.run(rows, [&](std::int64_t begin, std::int64_t end, int) {
    score(p, kv_layer, 0, begin, end, scratch.scores.data());
  });
  choose(scratch.scores.data(), rows, topk, scratch.order.data(), w.selected.data());
}

}  // namespace v4i::forward
