// The image tower of a tiny V4.1 model, bound, and what the oracle makes of images with it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "lib/forward/cpu/vision.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

namespace v4i::test {

struct GoldenImage {
  forward::cpu::PatchGrid grid;
  std::vector<float> patches, exact, native;
};

struct VisionRig {
  explicit VisionRig(int seed);
  // The same tower with changed tensors.
  VisionRig(const VisionRig& other, const std::function<void(StFile&)>& change);
  static const VisionRig& of(int seed);  // made once in a program

  // Embeddings of an image, float32 [cells, D].
  std::vector<float> encode(const GoldenImage& image, bool native, int threads = 1,
                            const char* kernels = nullptr) const;
  forward::cpu::ImageTower tower(const kernels::KernelTable& kernels, ThreadPool& pool,
                                 Budget& budget, bool native) const {
    return {*model, model->config().vision, weights, kernels, pool, budget, native};
  }

  TempDir folder;  // of the changed model, or of the oracle's images
  std::shared_ptr<const model::Model> model;
  model::VisionWeights weights;
  std::vector<GoldenImage> images;

 private:
  void open(const std::string& path);
};

}  // namespace v4i::test
