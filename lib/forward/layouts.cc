// What each layer keeps between tokens; see layouts.h.
#include "lib/forward/layouts.h"

#include <algorithm>
#include <span>

namespace v4i::forward {

namespace {

kv::RowFormat row_format(const model::Config& c, RowForm form, bool packed) {
  return {static_cast<int>(c.head_dim), static_cast<int>(c.rope_dim),
          packed ? form : RowForm::kFloat32};
}

// All layers of a model store their rows in one form.
kv::Layout base_layout(const model::Config& c, std::span<const model::LayerPlan> plans,
                       const Options& options) {
  kv::Layout layout;
  const bool packed = options.numerics != Numerics::kExact;
  layout.window_row = row_format(c, plans.back().window_rows, packed);
  layout.main_row = row_format(c, plans.back().main_rows, packed);
  layout.key = {static_cast<int>(c.index_dim), packed};
  layout.window = static_cast<int>(c.window);
  layout.rollback = kRollback;
  layout.rows_per_block = options.rows_per_block;
  layout.window_slots = layout.window + layout.rollback;
  return layout;
}

// The inputs of a layer's compressor: values and gates of the tokens whose row is not complete.
void add_partial(const model::Config& c, const model::LayerPlan& plan, kv::LayerLayout* l) {
  const int halves = plan.overlap ? 2 : 1;
  l->partial_slots = halves * plan.ratio + kRollback;
  l->partial_width = static_cast<int>(2 * halves * c.head_dim);
  // V4.1's index keys are made of finished rows.
  if (plan.indexer && plan.attention == model::AttentionKind::kCsa)
    l->index_width = static_cast<int>(2 * halves * c.index_dim);
}

kv::LayerLayout layer_layout(const model::Config& c, const model::LayerPlan& plan, int layer) {
  kv::LayerLayout l;
  l.ratio = plan.ratio;
  if (plan.ratio == 0) return l;
  l.index_keys = plan.index_from >= 0;
  if (plan.main_from != layer) l.main_from = plan.main_from;
  if (plan.index_from != layer) l.index_from = plan.index_from;
  if (plan.main_from == layer && plan.gate) add_partial(c, plan, &l);
  return l;
}

}  // namespace

int row_reads(const model::Config& c) {
  return static_cast<int>(std::min<std::int64_t>(c.index_topk, 1 << 20));
}

kv::Layout make_layout(const model::Config& c, const model::Plan& plan, const Options& options) {
  kv::Layout layout = base_layout(c, plan.layers, options);
  for (std::size_t i = 0; i < plan.layers.size(); ++i)
    layout.layers.push_back(layer_layout(c, plan.layers[i], static_cast<int>(i)));
  layout.outputs_from = plan.outputs_from;
  layout.finish();
  return layout;
}

kv::Layout make_draft_layout(const model::Config& c, const model::Plan& plan,
                             const Options& options) {
  kv::Layout layout = base_layout(c, {&plan.draft, 1}, options);
  layout.layers.resize(static_cast<std::size_t>(std::max(plan.draft_stages, 1)));
  layout.finish();
  return layout;
}

}  // namespace v4i::forward
