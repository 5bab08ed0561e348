// Pass: one run through the layers, as the parts of the CUDA backend see it.
//
// The parts are free functions over a Pass that start kernels on its stream; the order in which
// executor.cc calls them is the model, as on the CPU (lib/forward/cpu).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/linear.h"
#include "kernels/cuda/streams.h"
#include "lib/forward/batch.h"
#include "lib/forward/cuda/device_experts.h"
#include "lib/forward/cuda/host_experts.h"
#include "lib/forward/cuda/run_data.h"
#include "lib/forward/cuda/weights.h"
#include "lib/forward/cuda/workspace.h"
#include "lib/forward/executor.h"

namespace v4i::forward::cuda {

// What the CPU hands over and takes back where it computes some of the experts.
struct Exchange {
  PinnedBuffer x, expert, weight, more;
  Event ready;
};

struct Pass {
  const model::Model& model;
  const model::Config& config;
  const Stream& stream;
  Workspace& w;
  const DeviceWeights& weights;
  const DeviceExperts& experts;
  HostExperts* host_experts;  // null when the device computes all of them
  Exchange& exchange;
  RunData& data;
  const bool native;
  const int processors;

  const kv::Layout* layout = nullptr;  // of this run's states
  const Batch* batch = nullptr;        // whose tokens the workspace holds
  const kernels::cuda::Token* tokens = nullptr;
  Workspace::Tokens* t = nullptr;          // the half that they are in
  kernels::cuda::SublayerResult result{};  // of the last sublayer, not yet mixed back
  bool replay = false;                     // a captured graph will do what the parts ask for
  Profile* profile = nullptr;

  std::int32_t n() const { return static_cast<std::int32_t>(batch->n()); }
  std::int32_t fp8_block() const {  // of activations; 0: they are not quantised
    return native ? static_cast<std::int32_t>(config.fp8_block) : 0;
  }
  template <class Args>
  void launch(const kernels::cuda::Launch& l, const Args& args) const {
    if (!replay) stream.launch(l, args);
  }
  void mark(model::Part part) const {  // the work since the last mark was `part`
    if (profile == nullptr) return;
    stream.wait();
    profile->mark(part);
  }
};

// What a layer is: its weights, its plan, and its numbers among the KV rows and the experts.
struct LayerOf {
  const BlockWeights& weights;
  const model::Block& block;
  const model::LayerPlan& plan;
  int kv = 0;
  int experts = 0;
};

// How its rows are kept.
inline const kv::LayerLayout& layout_of(const Pass& p, const LayerOf& layer) {
  return p.layout->layers[static_cast<std::size_t>(layer.kv)];
}

// Products to be started together.
struct ProductList {
  kernels::cuda::Product product[kernels::cuda::kMostProducts];
  std::size_t count = 0;
  void add(const kernels::cuda::Product& p) { product[count++] = p; }
  std::span<const kernels::cuda::Product> all() const { return {product, count}; }
};

// ---- linear.cc
// Products of the same tokens, the pass's unless said otherwise: in as few launches as their
// formats allow.
void multiply(const Pass& p, std::span<const kernels::cuda::Product> products,
              std::int32_t tokens = 0);
// y = W x: rows of W.cols and W.rows floats, rounded when native.
kernels::cuda::Product product(const Matrix& w, const float* x, float* y, bool round = true);
void norm(const Pass& p, const float* x, std::int64_t cols, const float* gain, float* y, float* yq);
// Input of an fp8 product: x as it is, or its quantised copy in xq.
inline const float* quantised(const Pass& p, const float* x, const float* xq) {
  return p.native ? xq : x;
}

// ---- streams.cc (spec 2.3)
// Mixes p.result back, collapses the streams to a site's input: p.t->x and, when native, xq.
void hyper_pre(Pass& p, const HyperWeights& h, const float* gain);
void hyper_post(Pass& p);  // mixes p.result back, if there is one
// Collapse and norm of `count` tokens, whose indices are at `rows`, to w.head_x.
void hyper_head(Pass& p, const HeadWeights& h, const std::int32_t* rows, std::int32_t count);
// From here on the pass holds the tokens of `out` alone.
void keep_outputs(Pass& p, const Batch& out);
void fill_rope(const Pass& p);
const float* rope_rows(const Pass& p, const model::LayerPlan& plan);

// ---- attention.cc (2.4, 2.7), compressor.cc (2.5), indexer.cc (2.6)
void attention(Pass& p, const LayerOf& layer, const Batch& out);
// The products that its compressors start from, and what follows them.
void add_compressor_products(const Pass& p, const LayerOf& layer, ProductList* products);
void compress(const Pass& p, const LayerOf& layer);
// Selected rows of tokens that see more of them than index_topk; false: nobody can.
bool select_rows(const Pass& p, const LayerOf& layer);

// ---- moe.cc (2.8, 2.9)
void moe(Pass& p, const LayerOf& layer);

}  // namespace v4i::forward::cuda
