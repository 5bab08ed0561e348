// One LayerPlan per compress ratio; see plan.h.
#include "lib/model/plan.h"

namespace v4i::model {

namespace {

LayerPlan plan_of_ratio(int ratio) {
  LayerPlan p;
  p.ratio = ratio;
  p.yarn_rope = ratio != 0;
  if (ratio == 4) {
    p.attention = AttentionKind::kCsa;
    p.overlap = p.indexer = true;
  } else if (ratio != 0) {
    p.attention = AttentionKind::kHca;
  }
  return p;
}

}  // namespace

Plan make_plan(const Config& config) {
  Plan plan;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    LayerPlan& p =
        plan.layers.emplace_back(plan_of_ratio(config.ratios[static_cast<std::size_t>(i)]));
    if (i < config.hash_layers) p.router = RouterKind::kHash;
  }
  plan.draft = plan_of_ratio(0);
  plan.draft_stages =
      static_cast<int>(static_cast<std::int64_t>(config.ratios.size()) - config.layers);
  return plan;
}

}  // namespace v4i::model
