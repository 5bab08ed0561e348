// The indexer: which compressed rows a query of a CSA layer reads.  Spec 2.6; as
// lib/forward/cpu/indexer.cc does it.
#include "kernels/cuda/indexer.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/select.h"
#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

namespace {

kc::IndexShape shape_of(const Pass& p, const model::LayerPlan& plan) {
  kc::IndexShape s;
  s.dim = static_cast<std::int32_t>(p.config.index_dim);
  s.heads = static_cast<std::int32_t>(p.config.index_heads);
  s.rope = static_cast<std::int32_t>(p.config.rope_dim);
  s.ratio = plan.ratio;
  s.topk = static_cast<std::int32_t>(p.config.index_topk);
  s.native = p.native;
  return s;
}

// Queries as the scores' kernel reads them.
void make_queries(const Pass& p, const model::LayerPlan& plan, const kc::IndexShape& shape) {
  kc::IndexHeadsArgs a;
  a.shape = shape;
  a.tokens = p.n();
  a.weight_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.dim)) /
                                      std::sqrt(static_cast<double>(shape.heads)));
  a.token = p.tokens;
  a.q = p.w.iq.data();
  a.weight = p.w.iw.data();
  a.cos_sin = rope_rows(p, plan);
  a.query = p.w.query.data();
  p.launch(kc::launch_index_heads(a), a);
}

// Scores of `count` tokens from `first` on, and the best rows of each.
void select_some(const Pass& p, const LayerOf& layer, const kc::IndexShape& shape,
                 std::int64_t first, std::int64_t count, std::int64_t rows) {
  kc::IndexScoresArgs a;
  a.shape = shape;
  a.tokens = static_cast<std::int32_t>(count);
  a.token = p.tokens + first;
  a.query = p.w.query.data() + first * kc::index_query_bytes(shape);
  a.keys = p.data.blocks(layer.kv, true);
  a.score = p.w.scores.data();
  a.score_stride = rows;
  p.launch(kc::launch_index_scores(a, rows, p.processors), a);
  kc::TopRowsArgs t;
  t.shape = shape;
  t.tokens = a.tokens;
  t.token = a.token;
  t.score = a.score;
  t.score_stride = rows;
  t.candidate_score = p.w.candidate_score.data();
  t.candidate_row = p.w.candidate_row.data();
  t.candidate_stride = p.w.candidate_stride;
  t.selected = p.w.selected.data() + first * shape.topk;
  p.launch(kc::launch_top_rows(t, rows), t);
  p.launch(kc::launch_top_rows_merge(t, rows), t);
}

}  // namespace

bool select_rows(const Pass& p, const LayerOf& layer) {
  const kc::IndexShape shape = shape_of(p, layer.plan);
  const std::int64_t rows = p.data.rows_bound(layer.plan.ratio), n = p.n();
  if (rows <= shape.topk) return false;
  make_queries(p, layer.plan, shape);
  const std::int64_t at_once = std::max<std::int64_t>(1, p.w.score_floats / rows);
  for (std::int64_t first = 0; first < n; first += at_once)
    select_some(p, layer, shape, first, std::min(at_once, n - first), rows);
  return true;
}

}  // namespace v4i::forward::cuda
