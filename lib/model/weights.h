// Weights: typed views on the checkpoint, one struct per part of the model.
//
// Large matrices stay in the mapped file.  Small vectors (norms, biases, sinks,
// ape, tid2eid) are read, checked and converted at bind, so the forward pass
// meets only float32 and int32 there.  Shapes were compared with the Config: a
// pointer here has the size its comment says.  Names are those of the official
// files (spec 1.4), without optional prefixes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/config.h"
#include "lib/model/plan.h"
#include "lib/tensor/tensor.h"

namespace v4i::loader {
class Checkpoint;
}

namespace v4i::model {

enum class WeightFormat { kF32, kBF16, kFp8, kFp4 };

// y = W x, W is [rows, cols].  Pointers may be unaligned.
//   kFp8: e4m3 bytes; scale[ceil(rows/block_rows)][ceil(cols/block_cols)] ue8m0
//   kFp4: cols/2 bytes a row, low nibble first; block 1 x 32, scale[rows][cols/32]
//   kF32, kBF16: scale is null
struct Linear {
  WeightFormat format = WeightFormat::kBF16;
  std::int64_t rows = 0, cols = 0;
  const std::byte* data = nullptr;
  const std::uint8_t* scale = nullptr;
  int block_rows = 0, block_cols = 0;
  std::int32_t tensor = -1;  // index in the Checkpoint's table, for messages

  bool present() const { return data != nullptr; }
  std::size_t data_bytes() const;   // of the weight tensor
  std::size_t scale_bytes() const;  // 0 when plain
};

using Vector = std::vector<float>;  // a small tensor, converted

struct Compressor {
  Vector ape;         // [ratio, c * dim], c = 2 with overlap else 1
  Vector norm;        // [dim]
  Linear wkv, wgate;  // [c * dim, D]
};

struct Indexer {
  Linear wq_b;          // [index_heads * index_dim, q_lora]
  Linear weights_proj;  // [index_heads, D]
  Compressor compressor;
};

struct Attention {
  Vector sink;             // [H]
  Vector q_norm, kv_norm;  // [q_lora], [d]
  Linear wq_a;             // [q_lora, D]
  Linear wq_b;             // [H * d, q_lora]
  Linear wkv;              // [d, D]
  Linear wo_a;             // [G * o_lora, H * d / G]
  Linear wo_b;             // [D, G * o_lora]
  Compressor compressor;   // ratio 4 and 128
  Indexer indexer;         // ratio 4
};

struct Hyper {         // mHC of one site
  Linear fn;           // [(2 + n) * n, n * D] F32
  Vector base, scale;  // [(2 + n) * n], [3]
};

struct HyperHead {
  Linear fn;           // [n, n * D] F32
  Vector base, scale;  // [n], [1]
};

struct Expert {
  Linear w1, w3;  // gate, up  [I, D]
  Linear w2;      // down      [D, I]
};

struct Moe {
  Linear gate;                        // [E, D]
  Vector bias;                        // [E], score routing
  std::vector<std::int32_t> tid2eid;  // [V, K], hash routing; every entry in [0, E)
  std::vector<Expert> experts;        // E
  Expert shared;                      // absent when shared_experts == 0
};

struct Block {
  Vector attn_norm, ffn_norm;  // [D]
  Hyper hc_attn, hc_ffn;
  Attention attn;
  Moe ffn;
};

struct Mtp {  // preview checkpoints, spec 3.1
  Block block;
  Linear e_proj, h_proj;      // [D, D]
  Vector enorm, hnorm, norm;  // [D]
  HyperHead head;
};

struct Dspark {  // 0731, spec 3.2; bound and kept, drafting comes later
  std::vector<Block> stages;
  Linear main_proj;        // [D, taps * D]
  Vector main_norm, norm;  // [D]
  HyperHead head;
  Linear markov_w1, markov_w2;  // [V, rank]
  Linear confidence;            // [1, D + rank]
};

struct Weights {
  Linear embed;  // [V, D]
  Linear head;   // [V, D]
  Vector norm;   // [D]
  HyperHead hc_head;
  std::vector<Block> layers;
  std::vector<Mtp> mtp;  // 0 or 1
  Dspark dspark;         // stages empty when absent
};

// Finds every tensor the plan asks for and compares dtype and shape.  Throws
// Error(kFormat): shard file, tensor, found, wanted.
Weights bind_weights(const loader::Checkpoint& checkpoint, const Config& config, const Plan& plan);

}  // namespace v4i::model
