// Attention over a sliding window and compressed rows, in one softmax with a sink.
// Keys are values; one KV head is shared by all query heads.  Spec 2.4 and 2.7.
#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/ops.h"
#include "lib/forward/cpu/pass.h"
#include "lib/kv/row_wave.h"

namespace v4i::forward::cpu {

namespace {

constexpr std::int64_t kHeads = 8;  // of a query, in one piece of work

kernels::HeadsArgs heads_of(const Pass& p, const model::LayerPlan& plan, std::int64_t t, float* x,
                            std::int64_t first, std::int64_t count) {
  const model::Config& c = p.config;
  return {x + (t * c.heads + first) * c.head_dim,
          count,
          static_cast<int>(c.head_dim),
          static_cast<int>(c.rope_dim),
          rope_row(p, plan, t),
          c.norm_eps,
          p.native,
          !plan.query_norm};
}

// The KV row of token t: norm, rope, stored form.
void make_row(Pass& p, const model::Attention& a, const model::LayerPlan& plan, std::int64_t t) {
  const std::int64_t d = p.config.head_dim, rope = p.config.rope_dim;
  float* kv = p.w.kv.data() + t * d;
  kernels::rms_norm(kv, a.kv_norm.data(), d, p.config.norm_eps, kv);
  p.round(kv, d);
  kernels::rope(kv + d - rope, rope_row(p, plan, t), rope, false);
  p.round(kv + d - rope, rope);
  const auto bytes = static_cast<std::int64_t>(p.layout().window_row.bytes());
  store_row(p, p.layout().window_row, kv, p.w.rows.data() + t * bytes);
}

// x -> qr (low-rank query, also the indexer's), queries [H, d].
void make_queries(Pass& p, const model::Attention& a, const model::LayerPlan& plan) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t n = p.n(), heads = c.heads * c.head_dim;
  const float* x = p.fp8_inputs() ? w.xq.data() : w.x.data();
  linear(p, a.wq_a, x, c.width, n, w.qr.data(), c.q_lora, true);
  norm(p, w.qr.data(), a.q_norm, n, w.qr.data());
  const float* qr = quantised(p, w.qr.data(), n, c.q_lora, w.qrq.data());
  linear(p, a.wq_b, qr, c.q_lora, n, w.wide.data(), heads, true);
  const std::int64_t pieces = (c.heads + kHeads - 1) / kHeads;
  p.pool.run(n * pieces, element_work(n * heads), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t t = u / pieces, first = u % pieces * kHeads;
      p.kernels.query_heads(
          heads_of(p, plan, t, w.wide.data(), first, std::min(kHeads, c.heads - first)));
    }
  });
}

// The compressed rows that token t reads: chosen ones, or the first `count`.
struct Visible {
  std::int64_t count = 0;
  const std::int32_t* chosen = nullptr;
};

Visible visible(const Pass& p, const LayerOf& layer, std::int64_t t) {
  const std::int64_t rows = (p.token(t).position + 1) / layer.plan.ratio;
  const std::int64_t topk = p.config.index_topk;
  if (layer.plan.topk_from < 0 || rows <= topk) return {rows, nullptr};
  return {topk, p.w.selected.data() + t * topk};
}

// Window rows by rising position.
std::int64_t window_rows(const Pass& p, const LayerOf& layer, std::int64_t t, const void** out) {
  const Token& token = p.token(t);
  const std::int64_t newest = p.block ? p.batch->start(token) - 1 : token.position;
  const std::int64_t end = p.block ? newest + 1 + p.n() : newest + 1;
  const bool late = layer.kv >= p.layout().outputs_from;
  const std::int64_t first = late ? p.state(t).late_start() : 0;
  std::int64_t n = 0;
  for (std::int64_t at = std::max(first, newest - p.config.window + 1); at < end; ++at)
    out[n++] = window_row(p, layer.kv, t, at);
  return n;
}

// Compressed rows by rising index.
std::int64_t compressed_rows(const Pass& p, const LayerOf& layer, std::int64_t t,
                             const void** out) {
  const kv::State& state = p.state(t);
  std::int64_t n = 0;
  if (layer.plan.ratio == 0) return n;
  const Visible rows = visible(p, layer, t);
  if (rows.chosen == nullptr && kv::RowWave::whole(state, layer.kv)) {
    const std::int64_t block = state.layout().rows_per_block;
    const auto row_bytes = static_cast<std::int64_t>(state.layout().main_row.bytes());
    for (std::int64_t i = 0; i < rows.count; i += block) {
      const std::byte* row = state.row(layer.kv, kv::RowKind::kMain, i);
      for (std::int64_t j = 0; j < std::min(block, rows.count - i); ++j)
        out[n++] = row + j * row_bytes;
    }
    return n;
  }
  for (std::int64_t i = 0; i < rows.count; ++i)
    out[n++] = state.row(layer.kv, kv::RowKind::kMain, rows.chosen != nullptr ? rows.chosen[i] : i);
  return n;
}

// Tokens [first, end) whose compressed rows are in memory together, from `first` on: all of them,
// but where rows are brought one by one.
std::int64_t bring_rows(Pass& p, const LayerOf& layer, std::int64_t first) {
  if (layer.plan.ratio == 0) return p.n();
  std::optional<kv::RowWave> wave;
  std::int64_t t = first;
  for (; t < p.n(); ++t) {
    kv::State& state = p.state(t);
    if (kv::RowWave::whole(state, layer.kv)) continue;
    if (!wave) wave.emplace(state, p.cancel);
    const Visible rows = visible(p, layer, t);
    if (!wave->add(state, layer.kv, rows.count, rows.chosen)) break;
  }
  if (wave) wave->bring();
  V4I_CHECK(t > first);
  return t;
}

// Of tokens [first, end): keys and values, each used by all heads.
std::int64_t attention_work(const Pass& p, const LayerOf& layer, std::int64_t first,
                            std::int64_t end) {
  const model::Config& c = p.config;
  std::int64_t rows = 0;
  for (std::int64_t t = first; t < end; ++t) {
    rows += std::min(p.token(t).position + 1, c.window);
    if (layer.plan.ratio > 0) rows += visible(p, layer, t).count;
  }
  return product_work(2 * rows, c.head_dim, c.heads);
}

// Of tokens [first, end).
void attend(Pass& p, const LayerOf& layer, std::int64_t first_token, std::int64_t end) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t d = c.head_dim, heads = c.heads;
  // A query's rows are dequantised once per group of heads: as few groups as keep all threads busy.
  const std::int64_t tokens = end - first_token;
  const std::int64_t wanted = tokens >= 2 * p.pool.at_once() ? 1 : p.pool.at_once();
  const std::int64_t lanes = Workspace::kHeadLanes;
  const std::int64_t group = (heads + wanted * lanes - 1) / (wanted * lanes) * lanes;
  const std::int64_t groups = (heads + group - 1) / group;
  const kv::Layout& layout = p.layout();
  const kernels::RowShape shape{static_cast<int>(d), static_cast<int>(c.rope_dim),
                                layout.window_row.form};
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  const auto attend_to = [&](std::int64_t t, std::int64_t h0, ThreadScratch& scratch) {
    const std::int64_t h1 = std::min(h0 + group, heads);
    const void** rows = scratch.rows.data();
    const std::int64_t near = window_rows(p, layer, t, rows);
    const std::int64_t n = near + compressed_rows(p, layer, t, rows + near);
    const bool one_form = layout.main_row.form == shape.form;
    float* q = w.wide.data() + t * heads * d;
    p.kernels.attention({shape, rows, n, q, layer.block.attn.sink.data(), q, h0, h1, scale,
                         p.native, scratch.attention.data(), one_form ? n : near,
                         layout.main_row.form});
    p.kernels.output_heads(heads_of(p, layer.plan, t, w.wide.data(), h0, h1 - h0));
  };
  // Later tokens see more rows: they come first, so that what comes last is short.
  p.pool.share(tokens * groups, attention_work(p, layer, first_token, end),
               [&](std::int64_t u, int thread) {
                 attend_to(end - 1 - u / groups, u % groups * group,
                           p.threads[static_cast<std::size_t>(thread)]);
               });
}

// Consecutive heads form a group; each group has its own rows of wo_a.
void project_out(Pass& p, const model::Attention& a) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t heads = c.heads * c.head_dim, width = heads / c.o_groups;
  const std::int64_t rows = c.o_groups * c.o_lora;
  const auto args = [&](std::int64_t group) {
    kernels::LinearArgs of = product_of(p, a.wo_a, w.wide.data() + group * width, heads, p.n());
    of.row_begin = group * c.o_lora;
    of.row_end = of.row_begin + c.o_lora;
    of.y = w.z.data();
    of.y_stride = rows;
    return of;
  };
  if (p.preparing(args(0), p.n()) != nullptr) {
    for (std::int64_t g = 0; g < c.o_groups; ++g) {
      Product one{&a.wo_a, args(g)};
      multiply_all(p, {&one, 1});
    }
  } else {
    constexpr std::int64_t kPiece = 128;
    const std::int64_t parts = (c.o_lora + kPiece - 1) / kPiece;
    const std::int64_t work = product_work(rows, width, p.n());
    p.pool.run(c.o_groups * parts, work, [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t u = begin; u < end; ++u) {
        kernels::LinearArgs part = args(u / parts);
        part.row_begin += u % parts * kPiece;
        part.row_end = std::min(part.row_begin + kPiece, part.row_end);
        part.scratch = p.threads[static_cast<std::size_t>(thread)].linear.data();
        multiply(p, a.wo_a, part);
      }
    });
  }
  const float* z = quantised(p, w.z.data(), p.n(), rows, w.zq.data());
  linear(p, a.wo_b, z, rows, p.n(), w.out.data(), c.width, true);
}

// Of layers that own their rows.
void make_compressed(Pass& p, const LayerOf& layer) {
  if (layer.plan.main_from != layer.kv || layer.plan.ratio == 0) return;
  (layer.plan.attention == model::AttentionKind::kCsa2 ? compress_csa2 : compress)(p, layer);
}

}  // namespace

void make_rows(Pass& p, const model::Attention& a, const model::LayerPlan& plan) {
  const std::int64_t n = p.n();
  const float* x = quantised(p, p.w.x.data(), n, p.config.width, p.w.xq.data());
  linear(p, a.wkv, x, p.config.width, n, p.w.kv.data(), p.config.head_dim, true);
  const std::int64_t work = element_work(n * 4 * p.config.head_dim);
  p.pool.run(n, work, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) make_row(p, a, plan, t);
  });
}

void attention(Pass& p, const LayerOf& layer, const Batch& out) {
  const model::Attention& a = layer.block.attn;
  make_rows(p, a, layer.plan);
  p.mark(model::Part::kAttention);
  make_compressed(p, layer);
  if (!p.block) keep_rows(p, layer.kv);
  p.mark(model::Part::kCompressor);
  if (&out != p.batch) keep_outputs(p, out);
  if (p.n() == 0) return;
  make_queries(p, a, layer.plan);
  p.mark(model::Part::kAttention);
  if (layer.plan.indexer) select_rows(p, layer);
  p.mark(model::Part::kIndexer);
  for (std::int64_t first = 0, end = 0; first < p.n(); first = end)
    attend(p, layer, first, end = bring_rows(p, layer, first));
  p.mark(model::Part::kRows);
  project_out(p, a);
  p.mark(model::Part::kAttention);
}

}  // namespace v4i::forward::cpu
