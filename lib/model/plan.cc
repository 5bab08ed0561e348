// One LayerPlan per layer, V4's and V4.1's; see plan.h.
#include "lib/model/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace v4i::model {

namespace {

bool contains(const std::vector<int>& layers, int layer) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

// The closest publisher up to `layer`; -1 when there is none.
int closest(const std::vector<int>& publishers, int layer) {
  int found = -1;
  for (const int p : publishers)
    if (p <= layer) found = p;
  return found;
}

LayerPlan v4_layer(const Config& c, int layer, int ratio) {
  LayerPlan p;
  p.ratio = ratio;
  p.yarn_rope = ratio != 0;
  if (layer < c.hash_layers) {
    p.router = RouterKind::kHash;
    p.router_biases = 0;
  }
  if (ratio == 0) return p;
  p.main_from = layer;
  p.ape = p.gate = true;
  p.attention = ratio == 4 ? AttentionKind::kCsa : AttentionKind::kHca;
  if (ratio == 4) {
    p.overlap = p.indexer = true;
    p.index_from = p.topk_from = layer;
  }
  return p;
}

LayerPlan v41_layer(const Config& c, int layer, int ratio) {
  LayerPlan p;
  p.route_norm = (layer < c.layers ? c.experts_active : c.draft_experts_active) > 1;
  p.route_eps = 1e-20f;
  p.ratio = ratio;
  p.yarn_rope = ratio != 0;
  p.window_rows = RowForm::kFp8;
  p.main_rows = RowForm::kFp4;
  p.query_norm = false;
  p.router_biases = 2;
  p.mhc = MhcKind::kLagged;
  p.engram = contains(c.engram.layers, layer);
  if (ratio == 0) return p;
  p.attention = AttentionKind::kCsa2;
  p.main_from = p.index_from = closest(c.kv_sources, layer);
  p.topk_from = closest(c.index_sources, layer);
  p.indexer = p.topk_from == layer;
  p.gate = p.main_from == layer && ratio > 1;
  p.publishes_candidates = layer == c.candidate_source;
  if (p.indexer && c.candidate_source >= 0 && layer > c.candidate_source)
    p.candidates_from = c.candidate_source;
  return p;
}

// Of layer `i`, or of a draft stage (-1).
std::string beyond_v4(const LayerPlan& p, int i) {
  if (p.engram) return "Engram";
  if (p.mhc == MhcKind::kLagged) return "lagged mHC";
  if (!p.query_norm) return "queries without a norm of each head";
  if (p.window_rows != RowForm::kFp8Rope16) return "window rows all fp8";
  if (p.main_from >= 0 && p.main_rows != RowForm::kFp8Rope16) return "main rows in fp4";
  if (p.attention == AttentionKind::kCsa2) return "CSA2";
  if (p.main_from >= 0 && p.main_from != i)
    return fmt::format("main rows of layer {}", p.main_from);
  if (p.candidates_from >= 0) return fmt::format("candidates of layer {}", p.candidates_from);
  if (p.router_biases > 1) return "router bias for images";
  if (!p.route_norm || p.route_eps != 0) return "router weights of V4.1";
  return {};
}

}  // namespace

Plan make_plan(const Config& config) {
  const auto layer_plan = config.is_v41() ? v41_layer : v4_layer;
  Plan plan;
  for (int i = 0; i < static_cast<int>(config.layers); ++i)
    plan.layers.push_back(layer_plan(config, i, config.ratios[static_cast<std::size_t>(i)]));
  plan.draft = layer_plan(config, static_cast<int>(config.layers), 0);
  plan.draft_stages =
      static_cast<int>(static_cast<std::int64_t>(config.ratios.size()) - config.layers);
  if (!config.kv_sources.empty()) plan.outputs_from = config.kv_sources.back();
  plan.scale_block = static_cast<int>(config.fp8_block);
  return plan;
}

std::string first_beyond_v4(const Plan& plan) {
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const std::string what = beyond_v4(plan.layers[i], static_cast<int>(i));
    if (!what.empty()) return fmt::format("layer {}: {}", i, what);
  }
  const std::string what = plan.draft_stages > 0 ? beyond_v4(plan.draft, -1) : "";
  return what.empty() ? "" : "draft stages: " + what;
}

}  // namespace v4i::model
