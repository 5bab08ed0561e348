// Which experts the device computes, and their weights there.
//
// The same number of every layer, the first ones: as many as the device's budget has room for.  The
// CPU computes the others.  That is decided at open and does not change, so results do not depend
// on what was used before; it is part of the executor's identity.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/experts.h"
#include "lib/experts/experts.h"
#include "lib/forward/cuda/upload.h"
#include "lib/model/model.h"

namespace v4i::forward::cuda {

class DeviceExperts {
 public:
  struct Layer {
    kernels::cuda::Matrix up, down;                      // shape and format
    const kernels::cuda::ExpertPlace* places = nullptr;  // [experts] on the device
  };

  // Experts of each layer, at most all of them, that fit into `bytes`.
  static std::int32_t fit(const model::Model& model, std::uint64_t bytes);

  // Checks and uploads the first `count` experts of every layer.
  DeviceExperts(const model::Model& model, experts::Experts& experts, std::int32_t count,
                std::shared_ptr<Device> device, Upload& upload, Budget& budget, ThreadPool& pool);

  const Layer& layer(int i) const { return layers_[static_cast<std::size_t>(i)]; }
  std::int32_t count() const { return count_; }
  // [experts], on the device: 1 for those of the CPU; null when there are none.
  const std::uint8_t* elsewhere() const { return elsewhere_.as<const std::uint8_t>(); }

 private:
  void add_layer(int layer, const model::Moe& moe, std::span<const std::int32_t> ids,
                 experts::Experts& experts, Upload& upload);
  kernels::cuda::ExpertPlace place(const model::Expert& e, Layer* layer, Upload& upload,
                                   std::uint8_t* to);

  std::int32_t count_;
  std::shared_ptr<Device> device_;
  Budget& budget_;
  std::vector<DeviceBuffer> owners_;
  DeviceBuffer elsewhere_;
  std::vector<Layer> layers_;
};

}  // namespace v4i::forward::cuda
