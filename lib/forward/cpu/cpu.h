// Cpu: what every product of the CPU needs, with or without a Pass.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/batch.h"
#include "lib/forward/cpu/workspace.h"
#include "lib/model/model.h"

namespace v4i::forward::cpu {

// Work as ThreadPool counts it, in nanoseconds of one thread, roughly: of `n` floats that are read,
// changed and written; of a product of `rows` x `cols` weights with some tokens, which reads the
// weights once (8 of them a nanosecond) and multiplies 16 a nanosecond.
constexpr std::int64_t element_work(std::int64_t n) { return n / 2; }
constexpr std::int64_t product_work(std::int64_t rows, std::int64_t cols, std::int64_t tokens) {
  return rows * cols * (tokens + 1) / 16;
}

struct Cpu {
  const model::Model& model;
  const model::Config& config;
  const kernels::KernelTable& kernels;
  ThreadPool& pool;
  const bool native;                 // numerics: rounded as the model was trained; or float32
  const bool int8;                   // native, but products with fp8 and fp4 weights are integers
  std::span<ThreadScratch> threads;  // one of each thread of the pool
  std::byte* prepared;               // the tokens of a product as the kernels want them

  void round(float* x, std::int64_t count) const;      // to bf16 in native
  bool fp8_inputs() const { return native && !int8; }  // of fp8 and fp4 products
  void product(const kernels::LinearArgs& a) const;    // on this thread
  // The kernels' prepare for a call's weights; null where threads had better do it each for itself.
  // `tokens`: of all the calls that share this work.
  decltype(kernels::KernelTable::prepare) preparing(const kernels::LinearArgs& a,
                                                    std::int64_t tokens) const;
};

// ---- head.cc
// A token's embedding, as float32 [width]: its own, or its id's row of the table, which is not
// checked here (model::Model::touch_embedding).
void embed(const model::Model& model, const Token& token, float* x);
// A row of a table of BF16 or F32, unchecked, as float32.
void table_row(const Weight& table, std::int64_t row, float* x);

// ---- linear.cc
// All rows of W x for `n` rows of x, results rounded as the numerics do; where they go is open.
kernels::LinearArgs product_of(const Cpu& p, const Weight& w, const float* x, std::int64_t x_stride,
                               std::int64_t n);
// Some rows of W x, which `a` describes but for W; a.w is what a.prepared was made for.  Weights
// that were never read before are checked first (model::Model::check_rows).
void multiply(const Cpu& p, const Weight& w, kernels::LinearArgs a);
// The tokens of `a` ready for all threads in `prepared`.
void prepare(const Cpu& p, kernels::LinearArgs& a);
// Some rows of W x, for multiply_all.
struct Product {
  const Weight* w;
  kernels::LinearArgs a;
  std::int64_t rows = 0, first = 0, count = 0;  // of multiply_all: of a piece; its pieces
};
// Products of the same x, by all threads at once; of the same form they share its preparation.
void multiply_all(const Cpu& p, std::span<Product> products);
// y[t, :] = W x[t, :] for the first `n` rows of x.
void linear(const Cpu& p, const Weight& w, const float* x, std::int64_t x_stride, std::int64_t n,
            float* y, std::int64_t y_stride, bool round);
// Rows [n, cols] quantised as the model's fp8 linears want their input (spec 2.1);
// returns x itself where they are not (fp8_inputs).
const float* quantised(const Cpu& p, const float* x, std::int64_t n, std::int64_t cols, float* out);
// RMSNorm of n rows; y == x is allowed.
void norm(const Cpu& p, const float* x, const model::Vector& gain, std::int64_t n, float* y);

}  // namespace v4i::forward::cpu
