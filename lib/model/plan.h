// LayerPlan: what each layer does, decided once from the Config.
//
// Models of the family differ by plan and shape; code in lib/forward binds to a
// plan at open and never asks for a model's name.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/model/config.h"

namespace v4i::model {

enum class AttentionKind { kWindow, kCsa, kHca };  // ratio 0; 4, overlapping, indexer; 128
enum class RouterKind { kHash, kScore };

struct LayerPlan {
  AttentionKind attention = AttentionKind::kWindow;
  int ratio = 0;         // tokens per compressed row; 0 for kWindow
  bool overlap = false;  // a row also covers the previous block (CSA)
  bool indexer = false;  // rows are selected by top-k (CSA)
  RouterKind router = RouterKind::kScore;
  bool yarn_rope = false;  // rope table B (compress_rope_theta + YaRN) instead of A
};

struct Plan {
  std::vector<LayerPlan> layers;  // the backbone
  LayerPlan draft;                // MTP and DSpark stages: window attention, score router
  int draft_stages = 0;           // len(ratios) - layers, checked against the tensors at bind
};

Plan make_plan(const Config& config);

}  // namespace v4i::model
