// Pass: one run through the layers, as the parts of the CPU's forward pass see it.
//
// The parts are free functions over a Pass.  They read and write the Workspace; the
// order in which executor.cc calls them is the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/engram/tables.h"
#include "lib/experts/experts.h"
#include "lib/forward/batch.h"
#include "lib/forward/cpu/cpu.h"
#include "lib/forward/cpu/experts.h"
#include "lib/forward/executor.h"
#include "lib/forward/profile.h"

namespace v4i::forward::cpu {

// A compressed row that this run completes.
struct NewRow {
  std::int32_t token = 0;  // index of the token that completes it
  std::int64_t row = 0;    // its index in the sequence
};

struct Pass : Cpu {
  Workspace& w;
  experts::Experts& experts;
  engram::Tables* engram;            // null where the model has no n-gram tables
  const std::vector<float>& freq_a;  // rope frequencies, spec 2.1: plain
  const std::vector<float>& freq_b;  // YaRN, for layers with compressed rows
  const bool lagged;                 // mHC: the coefficients of a site collapse at the next one

  const Batch* batch = nullptr;  // whose tokens the workspace holds
  const CancelFlag* cancel = nullptr;
  std::vector<NewRow> new_rows{};  // of the layer in work
  EngramGates gates{};             // of all runs
  Profile* profile = nullptr;      // or where the time of this run is counted
  bool block = false;  // DSpark's: each token sees all of them and the window before the first

  std::int64_t n() const { return batch->n(); }
  const Token& token(std::int64_t t) const { return batch->tokens()[static_cast<std::size_t>(t)]; }
  kv::State& state(std::int64_t t) const { return batch->state(token(t)); }
  const kv::Layout& layout() const { return batch->items()[0].state->layout(); }
  void mark(model::Part part) const {  // the work since the last mark was `part`
    if (profile != nullptr) profile->mark(part);
  }
};

// What a layer is: its weights, its plan, and its numbers among the KV rows and the experts.
struct LayerOf {
  const model::Block& block;
  const model::LayerPlan& plan;
  int kv = 0;
  int experts = 0;
  std::int64_t active = 0;  // experts of a token
};

// ---- rope.cc (2.1)
// Cosines and sines of every token of the pass, for both tables.
void fill_rope(Pass& p);
const float* rope_row(const Pass& p, const model::LayerPlan& plan, std::int64_t t);
// Cosines, then sines of one position.
void fill_turn(const std::vector<float>& freq, std::int64_t position, float* out);
// The stored forms of a KV row and of an index key (spec 4.3; V4.1: without Hadamard).
void store_row(const Pass& p, const kv::RowFormat& format, const float* row, std::byte* out);
void store_key(const Pass& p, float* key, bool hadamard, std::byte* out);

// ---- engram.cc (engram.md 4.1)
// streams += gate * value of the tokens' n-gram rows.
void engram(Pass& p, const LayerOf& layer);

// ---- hyper.cc (spec 2.3)
// streams <- out, streams: what a sublayer found goes back.
void hyper_post(Pass& p, const float* out);
// streams -> x, the next one's input; keeps post and comb.  With `out`, hyper_post first.
void hyper_pre(Pass& p, const model::Hyper& h, float* x, const float* out = nullptr);
// Collapse of the streams of token `t` to one row; lagged, `h` is not looked at.
void hyper_head(Pass& p, const model::HyperHead& h, std::int64_t t, float* x);

// ---- attention.cc (2.4, 2.7), compressor.cc (2.5), csa2.cc (V4.1 3.3), indexer.cc (2.6)
// After the KV rows of the batch are made, `out` is the batch.
void attention(Pass& p, const LayerOf& layer, const Batch& out);
// w.x -> w.rows, the stored window rows of the tokens; keeps x quantised in w.xq.
void make_rows(Pass& p, const model::Attention& a, const model::LayerPlan& plan);
void compress(Pass& p, const LayerOf& layer);
void compress_csa2(Pass& p, const LayerOf& layer);  // of a layer that owns its rows and keys
// The rows that the tokens of the pass complete, into p.new_rows.
void find_new_rows(Pass& p, int ratio);
// body(begin, end) over [0, n), `floats` of them all.
template <class Body>
void share(Pass& p, std::int64_t n, std::int64_t floats, Body&& body) {
  p.pool.run(n, element_work(floats),
             [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}
// Fills w.selected for tokens that see more rows than index_topk, and w.blocks of those where the
// layer publishes candidates.
void select_rows(Pass& p, const LayerOf& layer);

// ---- rows.cc: where the rows that a layer reads lie.  Those of this run are staged in the
// workspace until keep_rows() stores them, past every row that anybody can see.
const std::byte* window_row(const Pass& p, int layer, std::int64_t t, std::int64_t position);
const float* partial_row(const Pass& p, int layer, std::int64_t t, std::int64_t position);
void keep_rows(Pass& p, int layer);

// ---- outputs.cc
// From here on the workspace holds the tokens of `out` alone.
void keep_outputs(Pass& p, const Batch& out);

// ---- router.cc (2.8): chooses experts and groups tokens by them, in the workspace
Routed route(Pass& p, const LayerOf& layer);
// For experts that are not in memory: what the layers with hash routing need, at the begin of a
// run, and what the layer after `layer` may need, after its route().
void hint_hashed(Pass& p);
Ahead guess_next(Pass& p, const LayerOf& layer);

// ---- moe.cc (2.8, 2.9)
void moe(Pass& p, const LayerOf& layer);

// ---- dspark.cc (3.2; V4.1's 5)
// Copies the mean of the streams to the items that want it, as tap number `which`.
void tap(const Pass& p, std::size_t which);
// The window rows of all stages, from taps [n, taps, D], stored.
void feed(Pass& p, const float* taps);
void guess(Pass& p, const Guesses& out);

// ---- head.cc
void logits(Pass& p, const model::HyperHead& h, const model::Vector& gain,
            std::span<const LogitsRow> rows);

}  // namespace v4i::forward::cpu
