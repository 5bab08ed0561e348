// What each layer keeps between tokens; see layouts.h.
#include "lib/forward/layouts.h"

namespace v4i::forward {

namespace {

kv::Layout base_layout(const model::Config& c, const Options& options) {
  kv::Layout layout;
  const bool packed = options.numerics != Numerics::kExact;
  layout.window_row = {static_cast<int>(c.head_dim), static_cast<int>(c.rope_dim),
                       packed ? kv::RowForm::kFp8Rope16 : kv::RowForm::kFloat32};
  layout.main_row = layout.window_row;
  layout.key = {static_cast<int>(c.index_dim), packed};
  layout.window = static_cast<int>(c.window);
  layout.rollback = kRollback;
  layout.rows_per_block = options.rows_per_block;
  layout.window_slots = layout.window + layout.rollback;
  return layout;
}

}  // namespace

kv::Layout make_layout(const model::Model& m, const Options& options) {
  const model::Config& c = m.config();
  kv::Layout layout = base_layout(c, options);
  for (const model::LayerPlan& plan : m.plan().layers) {
    kv::LayerLayout l;
    l.ratio = plan.ratio;
    if (plan.ratio > 0) {
      const int halves = plan.overlap ? 2 : 1;
      l.partial_slots = halves * plan.ratio + layout.rollback;
      l.partial_width = static_cast<int>(2 * halves * c.head_dim);
      l.index_keys = plan.indexer;
      l.index_width = plan.indexer ? static_cast<int>(2 * halves * c.index_dim) : 0;
    }
    layout.layers.push_back(l);
  }
  layout.finish();
  return layout;
}

kv::Layout make_draft_layout(const model::Model& m, const Options& options) {
  kv::Layout layout = base_layout(m.config(), options);
  layout.layers.emplace_back();
  layout.finish();
  return layout;
}

}  // namespace v4i::forward
