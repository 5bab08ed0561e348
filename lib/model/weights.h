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
#include "lib/model/parts.h"
#include "lib/model/plan.h"
#include "lib/model/vision.h"
#include "lib/tensor/tensor.h"
#include "lib/tensor/weight.h"

namespace v4i::loader {
class Checkpoint;
}

namespace v4i::model {

using Vector = std::vector<float>;  // a small tensor, converted

struct Compressor {
  Vector ape;         // [ratio, c * dim], c = 2 with overlap else 1; V4 only
  Vector norm;        // [dim]
  Weight wkv, wgate;  // [c * dim, D]; wgate absent where a row is of one token
};

struct Indexer {
  Weight wq_b;            // [index_heads * index_dim, q_lora]
  Weight weights_proj;    // [index_heads, D]
  Compressor compressor;  // V4: of its keys
  Weight wk;              // [index_dim, d], V4.1: keys from main rows, in the layer that owns both
  Vector k_norm;          // [index_dim]
};

struct Attention {
  Vector sink;             // [H]
  Vector q_norm, kv_norm;  // [q_lora], [d]
  Weight wq_a;             // [q_lora, D]
  Weight wq_b;             // [H * d, q_lora]
  Weight wkv;              // [d, D]
  Weight wo_a;             // [G * o_lora, H * d / G]
  Weight wo_b;             // [D, G * o_lora]
  Compressor compressor;   // of layers that own main rows
  Indexer indexer;         // of layers that select, or own index keys
};

struct Hyper {         // mHC of one site
  Weight fn;           // [(2 + n) * n, n * D] F32
  Vector base, scale;  // [(2 + n) * n], [3]
};

struct HyperHead {
  Weight fn;           // [n, n * D] F32
  Vector base, scale;  // [n], [1]
};

struct Expert {
  Weight w1, w3;  // gate, up  [I, D]
  Weight w2;      // down      [D, I]
};

struct Moe {
  Weight gate;                        // [E, D]
  Vector bias;                        // [E], score routing
  Vector bias_media;                  // [E], V4.1: of tokens that stand for an image (bias_vl)
  std::vector<std::int32_t> tid2eid;  // [V, K], hash routing; every entry in [0, E)
  std::vector<Expert> experts;        // E
  Expert shared;                      // absent when shared_experts == 0
};

struct EngramWeights {
  Weight wkv;    // [(n + 1) * D, columns * head_dim]: n keys, then the value
  Vector qk;     // [n, D]: q_weight * k_weight
  Weight table;  // [rows, head_dim] kFp8, one scale for 32 columns of a row; in the mapped file
};

struct Block {
  Vector attn_norm, ffn_norm;  // [D]
  Hyper hc_attn, hc_ffn;
  Attention attn;
  Moe ffn;
  EngramWeights engram;  // where the plan has it
};

struct Mtp {  // preview checkpoints, spec 3.1
  Block block;
  Weight e_proj, h_proj;      // [D, D]
  Vector enorm, hnorm, norm;  // [D]
  HyperHead head;
};

struct Dspark {  // 0731, spec 3.2, and V4.1
  std::vector<Block> stages;
  Weight main_proj;             // [D, taps * D]
  Vector main_norm, norm;       // [D]
  HyperHead head;               // absent with lagged mHC
  Weight markov_w1, markov_w2;  // [V, rank]: embedding, head
  Weight confidence;            // [1, D + rank]
};

struct Weights {
  Weight embed;       // [V, D]
  Weight head;        // [V, D]
  Vector norm;        // [D]
  HyperHead hc_head;  // absent with lagged mHC
  std::vector<Block> layers;
  std::vector<Mtp> mtp;  // 0 or 1
  Dspark dspark;         // stages empty when absent
  VisionWeights vision;  // layers empty when absent
};

// body(weight) for the three matrices of an expert.
template <class Body>
void for_each_linear(const Expert& e, Body&& body) {
  body(e.w1);
  body(e.w3);
  body(e.w2);
}

// body(part, weight) for every matrix of a block that is not a routed expert's, in the order in
// which a token meets them; absent ones too.  The one list of them.
template <class Body>
void for_each_linear(const Block& b, Body&& body) {
  const Attention& a = b.attn;
  body(Part::kEngram, b.engram.wkv);
  body(Part::kHyper, b.hc_attn.fn);
  body(Part::kHyper, b.hc_ffn.fn);
  for (const Weight* w : {&a.wq_a, &a.wq_b, &a.wkv, &a.wo_a, &a.wo_b}) body(Part::kAttention, *w);
  for (const Compressor* c : {&a.compressor, &a.indexer.compressor}) {
    body(Part::kCompressor, c->wkv);
    body(Part::kCompressor, c->wgate);
  }
  body(Part::kCompressor, a.indexer.wk);
  body(Part::kIndexer, a.indexer.wq_b);
  body(Part::kIndexer, a.indexer.weights_proj);
  body(Part::kRouter, b.ffn.gate);
  for_each_linear(b.ffn.shared, [&](const Weight& w) { body(Part::kShared, w); });
}

// Finds every tensor the plan asks for and compares dtype and shape.  Throws
// Error(kFormat): shard file, tensor, found, wanted.
Weights bind_weights(const loader::Checkpoint& checkpoint, const Config& config, const Plan& plan);

}  // namespace v4i::model
