// The weights of a model on the device: what model::Weights is on the host.
//
// Every matrix but the embedding (its rows are read by the host) and the experts (experts.h).
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/types.h"
#include "lib/forward/cuda/device.h"
#include "lib/forward/cuda/upload.h"
#include "lib/model/model.h"

namespace v4i::forward::cuda {

using kernels::cuda::Matrix;

struct CompressorWeights {
  Matrix wkv, wgate;
  const float *ape = nullptr, *norm = nullptr;
};

struct HyperWeights {  // of a site, or of the head
  Matrix fn;           // float32
  const float *base = nullptr, *scale = nullptr;
};

struct ExpertWeights {
  Matrix w1, w3, w2;
};

struct BlockWeights {
  const float *attn_norm = nullptr, *ffn_norm = nullptr;
  HyperWeights hc_attn, hc_ffn;
  const float *sink = nullptr, *q_norm = nullptr, *kv_norm = nullptr;
  Matrix wq_a, wq_b, wkv, wo_a, wo_b;
  CompressorWeights compressor, index_compressor;
  Matrix index_wq_b, index_weights;
  Matrix gate;
  const float* bias = nullptr;
  const std::int32_t* tid2eid = nullptr;
  ExpertWeights shared;
};

struct HeadWeights {
  HyperWeights hyper;
  const float* norm = nullptr;
};

struct DraftWeights {  // the MTP block (spec 3.1)
  BlockWeights block;
  Matrix e_proj, h_proj;
  const float *enorm = nullptr, *hnorm = nullptr;
  HeadWeights head;
};

class DeviceWeights {
 public:
  // Checks every tensor before it goes (model::Model::touch_layer).
  DeviceWeights(const model::Model& model, Upload& upload, ThreadPool& pool);

  const BlockWeights& layer(int i) const { return layers_[static_cast<std::size_t>(i)]; }
  const DraftWeights& draft() const { return draft_; }
  const Matrix& head() const { return head_; }
  const HeadWeights& head_norm() const { return head_norm_; }
  const float* freq(bool yarn) const { return freq_[yarn]; }

  // Device bytes of all of it.
  static std::uint64_t bytes(const model::Model& model);

 private:
  BlockWeights block(const model::Block& b, Upload& upload);
  HyperWeights hyper(const Weight& fn, const model::Vector& base, const model::Vector& scale,
                     Upload& upload);
  CompressorWeights compressor(const model::Compressor& c, Upload& upload);

  std::vector<DeviceBuffer> owners_;
  std::vector<BlockWeights> layers_;
  DraftWeights draft_;
  Matrix head_;
  HeadWeights head_norm_;
  const float* freq_[2] = {};
};

}  // namespace v4i::forward::cuda
