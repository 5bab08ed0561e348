// The image tower on the CPU: patches in, embeddings out.
//
//   x = patch W + b                                 one row of `width` per patch
//   x += Wo attention(norm1 x),  x += W2 (silu(g) u),  (g, u) = W1 norm2 x     `layers` times
//   out = align2 gelu(align1 cells(norm x))         one row of D per cell
//
// Attention sees the whole image.  Memory grows with the patches, never with their square.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/base/thread_pool.h"
#include "lib/model/model.h"

namespace v4i::forward::cpu {

struct PatchGrid {
  std::int64_t height = 0, width = 0;  // patches

  std::int64_t patches() const { return height * width; }
};

// What an image is encoded with.  One image at a time, as one thread runs a pool.
struct ImageTower {
  const model::Model& model;  // whose files hold `weights`; checks them when they are first read
  const model::VisionConfig& config;
  const model::VisionWeights& weights;
  const kernels::KernelTable& kernels;
  ThreadPool& pool;
  Budget& budget;  // for what it needs meanwhile
  bool native;     // activations rounded to bf16 as the model was trained; else float32
};

std::int64_t cells_of(const model::VisionConfig& config, const PatchGrid& grid);

// patches: [grid.patches(), 3 * patch * patch] in reading order, as media::image_patches makes
// them.  out: [cells_of(grid), D] in reading order.  The same bits for any number of threads.
// Error(kCancelled) within a block of the tower; kFormat for weights that are no numbers, or whose
// results are none.
void encode_image(const ImageTower& tower, const PatchGrid& grid, const float* patches, float* out,
                  const CancelFlag* cancel);

}  // namespace v4i::forward::cpu
