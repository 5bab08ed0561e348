// Experts on the device; see device_experts.h.
#include "lib/forward/cuda/device_experts.h"

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"

namespace v4i::forward::cuda {

namespace {

using kernels::cuda::ExpertPlace;

constexpr std::size_t kAlign = 256;

std::size_t aligned(std::size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

std::size_t expert_bytes(const model::Expert& e) {
  std::size_t n = 0;
  model::for_each_linear(e, [&](const Weight& w) { n += aligned(Upload::matrix_bytes(w)); });
  return n;
}

int layers_of(const model::Model& model) {
  return static_cast<int>(model.weights().layers.size() + model.weights().mtp.size());
}

bool same_form(const Weight& a, const kernels::cuda::Matrix& b) {
  return static_cast<std::int32_t>(a.format) == b.format && a.rows == b.rows && a.cols == b.cols &&
         a.block_rows == b.block_rows && a.block_cols == b.block_cols;
}

}  // namespace

std::int32_t DeviceExperts::fit(const model::Model& model, std::uint64_t bytes) {
  std::uint64_t each = 0;  // one expert of every layer
  for (int l = 0; l < layers_of(model); ++l) each += expert_bytes(model.block(l).ffn.experts[0]);
  const auto all = static_cast<std::uint64_t>(model.config().experts);
  return static_cast<std::int32_t>(std::min(all, bytes / std::max<std::uint64_t>(each, 1)));
}

DeviceExperts::DeviceExperts(const model::Model& model, experts::Experts& experts,
                             std::int32_t count, std::shared_ptr<Device> device, Upload& upload,
                             Budget& budget, ThreadPool& pool)
    : count_(count), device_(std::move(device)), budget_(budget) {
  const auto all = static_cast<std::size_t>(model.config().experts);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  const auto own = static_cast<int>(model.weights().layers.size());
  for (int l = 0; l < layers_of(model); ++l) {
    if (l < own)
      model.touch_experts(l, ids.data(), count, pool);
    else
      model.touch_mtp_experts(ids.data(), count, pool);
    add_layer(l, model.block(l).ffn, ids, experts, upload);
  }
  if (static_cast<std::size_t>(count) == all) return;
  std::vector<std::uint8_t> mask(all, 0);
  std::fill(mask.begin() + count, mask.end(), std::uint8_t{1});
  elsewhere_ = DeviceBuffer(device_, budget, Use::kWeights, all, "experts on the device");
  upload.bytes(elsewhere_.data(), mask.data(), all);
}

// All in one piece of memory, and the table that finds them.
void DeviceExperts::add_layer(int l, const model::Moe& moe, std::span<const std::int32_t> ids,
                              experts::Experts& experts, Upload& upload) {
  constexpr const char* kWhat = "experts on the device";
  Layer layer;
  std::vector<ExpertPlace> places(moe.experts.size());
  if (!ids.empty()) {
    const std::size_t each = expert_bytes(moe.experts[0]);
    owners_.emplace_back(device_, budget_, Use::kWeights, each * ids.size(), kWhat);
    std::uint8_t* to = owners_.back().data();
    experts::Experts::Lease lease = experts.acquire(l, ids);
    for (std::size_t i = 0; i < ids.size();)
      for (const std::size_t end = lease.wait(i); i < end; ++i)
        places[i] = place(lease[i], &layer, upload, to + i * each);
  }
  owners_.emplace_back(device_, budget_, Use::kWeights, places.size() * sizeof(ExpertPlace), kWhat);
  upload.bytes(owners_.back().data(), places.data(), places.size() * sizeof(ExpertPlace));
  layer.places = owners_.back().as<const ExpertPlace>();
  layers_.push_back(layer);
}

ExpertPlace DeviceExperts::place(const model::Expert& e, Layer* layer, Upload& upload,
                                 std::uint8_t* to) {
  ExpertPlace p{};
  int i = 0;
  model::for_each_linear(e, [&](const Weight& w) {
    kernels::cuda::Matrix& shape = i < 2 ? layer->up : layer->down;
    if (shape.rows != 0 && !same_form(w, shape))
      fail(Code::kUnsupported, "experts of one layer in different formats are not supported");
    const kernels::cuda::Matrix m = upload.matrix_at(w, to);
    if (shape.rows == 0) {
      shape = m;
      shape.data = shape.scale = nullptr;
    }
    p.data[i] = m.data;
    p.scale[i] = m.scale;
    to += aligned(Upload::matrix_bytes(w));
    ++i;
  });
  return p;
}

}  // namespace v4i::forward::cuda
