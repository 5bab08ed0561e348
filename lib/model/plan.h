// LayerPlan: what each layer does, decided once from the Config.
//
// Models of the family differ by plan and shape; code in lib/forward binds to a
// plan at open and never asks for a model's name.
//
// Layers share by number.  A layer that compresses owns main rows (what attention reads
// besides the window) and, when rows are selected, their index keys.  In V4 every layer
// owns what it reads; in V4.1 a layer reads from the closest preceding owner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/config.h"
#include "lib/tensor/row_form.h"

namespace v4i::model {

// V4's ratio 0; 4, overlapping, selected; 128, all of them.  V4.1's ratio above 0, selected:
// its index keys are projections of the main rows before rope.
enum class AttentionKind { kWindow, kCsa, kHca, kCsa2 };
enum class RouterKind { kHash, kScore };
// Whether the mHC coefficients of a site collapse the streams at that site or at the next one.
enum class MhcKind { kSameSite, kLagged };

struct LayerPlan {
  AttentionKind attention = AttentionKind::kWindow;
  int ratio = 0;         // tokens per compressed row; 0 for kWindow
  bool overlap = false;  // a row also covers the previous block (kCsa)
  bool indexer = false;  // scores index keys and selects rows itself (kCsa, kCsa2)
  RouterKind router = RouterKind::kScore;
  bool yarn_rope = false;  // rope table B (compress_rope_theta + YaRN) instead of A

  // Layers, -1 for none.  `main_from` equal to the layer's own number: it has a compressor.
  int main_from = -1;        // owner of the main rows that it reads
  int index_from = -1;       // owner of their index keys
  int topk_from = -1;        // the indexer whose selection it uses, maybe its own
  int candidates_from = -1;  // its indexer scores only the candidates of this layer
  bool publishes_candidates = false;
  bool ape = false;   // its compressor adds a position embedding to the gate
  bool gate = false;  // its compressor weighs a row's tokens by a softmax; false at ratio 1

  RowForm window_rows = RowForm::kFp8Rope16;
  RowForm main_rows = RowForm::kFp8Rope16;  // no meaning without main_from
  bool query_norm = true;                   // RMS norm of each head's query
  // A token's scores s become s / (sum + route_eps); false: they stay, of a single expert in V4.1.
  bool route_norm = true;
  float route_eps = 0;
  int router_biases = 1;  // 0 kHash; 1 kScore; 2 when positions of images have their own (bias_vl)
  MhcKind mhc = MhcKind::kSameSite;
  bool engram = false;  // adds Engram rows to the streams before the attention site

  bool operator==(const LayerPlan&) const = default;
};

struct Plan {
  std::vector<LayerPlan> layers;  // the backbone
  LayerPlan draft;                // MTP and DSpark stages: window attention, score router
  int draft_stages = 0;           // len(ratios) - layers, checked against the tensors at bind
  // The last owner of main rows in V4.1, else 0.  A token without logits needs this layer's
  // main rows and index keys, and nothing of the layers after it but what their windows hold.
  int outputs_from = 0;
  int scale_block = 128;  // rows and columns of fp8 weights that share a scale

  bool operator==(const Plan&) const = default;
};

Plan make_plan(const Config& config);

// The first thing of a plan that V4 has not, such as "layer 0: lagged mHC"; empty when V4 has all
// of it.  For backends that run V4 alone.
std::string first_beyond_v4(const Plan& plan);

}  // namespace v4i::model
