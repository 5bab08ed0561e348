// VisionWeights: DeepSeek-ViT and its aligner, bound to a checkpoint.
//
// The tower makes one embedding of every cell of downsample x downsample patches; the three learned
// ones stand for the tokens around them.  Names are those of the official files; the loader spells
// "mlp" as "ffn".  Matrices stay in the mapped file, vectors are read, checked and converted.
#pragma once

#include <vector>

#include "lib/model/config.h"
#include "lib/tensor/weight.h"

namespace v4i::model {

class Binder;

// y = W x + bias
struct VisionLinear {
  Weight w;
  std::vector<float> bias;  // [rows]; empty: none
};

struct VisionBlock {
  std::vector<float> norm1, norm2;  // [width]
  VisionLinear wqkv;                // [3 * width, width]: queries, keys, values
  VisionLinear wo;                  // [width, width]
  VisionLinear w1;                  // [2 * mlp_width, width]: gate, then up
  VisionLinear w2;                  // [width, mlp_width]
};

// D is the width of the language model, cell downsample * downsample.
struct VisionWeights {
  VisionLinear patch;  // [width, 3 * patch * patch]
  std::vector<VisionBlock> layers;
  std::vector<float> norm;                 // [width]
  VisionLinear align1;                     // [D, width * cell], a cell channel by channel
  VisionLinear align2;                     // [D, D]
  std::vector<float> start, newline, end;  // [D]: image_start, image_newline, image_end

  bool present() const { return !layers.empty(); }
};

// Nothing when the config has no tower.  Error(kFormat) for missing tensors, wrong shapes and
// blocks that config.json does not know; kUnsupported for heads that cannot be rotated.
VisionWeights bind_vision(Binder& binder, const Config& config);

}  // namespace v4i::model
