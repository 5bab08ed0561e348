// Pass: one run through the layers, as the parts of the forward pass see it.
//
// The parts are free functions over a Pass.  They read and write the Workspace; the
// order in which forward.cc calls them is the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/forward.h"
#include "lib/forward/profile.h"
#include "lib/forward/workspace.h"

namespace v4i::forward {

struct Token {
  std::int32_t item = 0;      // in Pass::items
  std::int32_t id = 0;        // vocabulary
  std::int64_t position = 0;  // in its sequence
  std::int32_t row = 0;       // its index in the run: of its KV row in Workspace::rows
};

// A compressed row that this run completes.
struct NewRow {
  std::int32_t token = 0;  // index of the token that completes it
  std::int64_t row = 0;    // its index in the sequence
};

struct Pass {
  const model::Model& model;
  const model::Config& config;
  const kernels::KernelTable& kernels;
  ThreadPool& pool;
  Workspace& w;
  const bool native;                 // numerics: rounded as the model was trained; or float32
  const bool int8;                   // native, but products with fp8 and fp4 weights are integers
  const std::vector<float>& freq_a;  // rope frequencies, spec 2.1: plain
  const std::vector<float>& freq_b;  // YaRN, for layers with compressed rows

  std::span<const Item> items;
  std::vector<Token> tokens;              // items one after the other
  std::vector<NewRow> new_rows;           // of the layer in work
  std::vector<std::int32_t> first_token;  // of each item in `tokens`
  // Tokens whose streams somebody wants after the last layer, rising.  That layer makes KV rows of
  // all tokens and then computes these alone.
  std::vector<std::int32_t> outputs;
  bool last_layer = false;
  Profile* profile = nullptr;  // or where the time of this run is counted

  std::int64_t n() const { return static_cast<std::int64_t>(tokens.size()); }
  kv::State& state(const Token& t) const { return *items[static_cast<std::size_t>(t.item)].state; }
  // Position of the first token of this run in t's sequence.
  std::int64_t start(const Token& t) const {
    return t.position - (t.row - first_token[static_cast<std::size_t>(t.item)]);
  }
  void round(float* x, std::int64_t count) const;      // to bf16 in native
  bool fp8_inputs() const { return native && !int8; }  // of fp8 and fp4 products
  void product(const kernels::LinearArgs& a) const;    // on this thread
  // The kernels' prepare for a call's weights; null where threads had better do it each for itself.
  // `tokens`: of all the calls that share this work.
  decltype(kernels::KernelTable::prepare) preparing(const kernels::LinearArgs& a,
                                                    std::int64_t tokens) const;
  void mark(model::Part part) const {  // the work since the last mark was `part`
    if (profile != nullptr) profile->mark(part);
  }
};

// ---- linear.cc
// All rows of W x for `n` rows of x, results rounded as the numerics do; where they go is open.
kernels::LinearArgs product_of(const Pass& p, const model::Linear& w, const float* x,
                               std::int64_t x_stride, std::int64_t n);
// Some rows of W x, which `a` describes but for W; a.w is what a.prepared was made for.  Weights
// that were never read before are checked first.  Whoever has multiplied all rows says so to the
// model: set_passed().
void multiply(const Pass& p, const model::Linear& w, kernels::LinearArgs a);
// The tokens of `a` ready for all threads in w.prepared.
void prepare(Pass& p, kernels::LinearArgs& a);
// Some rows of W x, for multiply_all.
struct Product {
  const model::Linear* w;
  kernels::LinearArgs a;
  std::int64_t rows = 0, first = 0, count = 0;  // of multiply_all: of a piece; its pieces
};
// Products of the same x, by all threads at once; of the same form they share its preparation.
void multiply_all(Pass& p, std::span<Product> products);
// y[t, :] = W x[t, :] for the first `n` rows of x.
void linear(Pass& p, const model::Linear& w, const float* x, std::int64_t x_stride, std::int64_t n,
            float* y, std::int64_t y_stride, bool round);
// Rows [n, cols] quantised as the model's fp8 linears want their input (spec 2.1);
// returns x itself where they are not (fp8_inputs).
const float* quantised(Pass& p, const float* x, std::int64_t n, std::int64_t cols, float* out);
// RMSNorm of n rows; y == x is allowed.
void norm(Pass& p, const float* x, const model::Vector& gain, std::int64_t n, float* y);

// ---- rope.cc (2.1)
std::vector<float> rope_frequencies(const model::Config& config, bool yarn);
// Cosines and sines of every token of the pass, for both tables.
void fill_rope(Pass& p);
const float* rope_row(const Pass& p, const model::LayerPlan& plan, std::int64_t t);
// Cosines, then sines of one position.
void fill_turn(const std::vector<float>& freq, std::int64_t position, float* out);
// The stored forms of a KV row and of an index key (spec 4.3).
void store_row(const Pass& p, const float* row, std::byte* out);
void store_key(const Pass& p, float* key, std::byte* out);

// ---- hyper.cc (spec 2.3)
// streams <- out, streams: what a sublayer found goes back.
void hyper_post(Pass& p, const float* out);
// streams -> x, the next one's input; keeps post and comb.  With `out`, hyper_post first.
void hyper_pre(Pass& p, const model::Hyper& h, float* x, const float* out = nullptr);
// Collapse of the streams of token `t` to one row.
void hyper_head(Pass& p, const model::HyperHead& h, std::int64_t t, float* x);

// ---- attention.cc (2.4, 2.7), compressor.cc (2.5), indexer.cc (2.6)
void attention(Pass& p, const model::Attention& a, const model::LayerPlan& plan, int kv_layer);
void compress(Pass& p, const model::Attention& a, const model::LayerPlan& plan, int kv_layer);
// Fills w.selected for tokens that see more rows than index_topk.
void select_rows(Pass& p, const model::Attention& a, const model::LayerPlan& plan, int kv_layer);

// ---- outputs.cc
// From here on the pass holds the tokens of `outputs` alone.
void keep_outputs(Pass& p);

// ---- router.cc (2.8): chooses experts and groups tokens by them; returns how many have tokens
std::int64_t route(Pass& p, const model::Moe& m, const model::LayerPlan& plan);

// ---- moe.cc (2.8, 2.9)
void moe(Pass& p, const model::Moe& m, const model::LayerPlan& plan);

// ---- head.cc
struct HeadRow {
  std::int64_t token = 0;  // index in the pass
  float* logits = nullptr;
};
void logits(Pass& p, const model::HyperHead& h, const model::Vector& gain,
            std::span<const HeadRow> rows);
void embed(Pass& p, std::int32_t id, float* x);  // one row of the table

}  // namespace v4i::forward
