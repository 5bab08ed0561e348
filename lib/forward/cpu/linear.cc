// The linear layers of a forward pass, over the thread pool; see cpu.h.
#include <algorithm>
#include <cstring>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/cpu/cpu.h"

namespace v4i::forward::cpu {

namespace {

// Weights that are checked, then multiplied: few enough to stay in a second-level cache meanwhile,
// many enough to pay for packing the tokens once more (bench/start_bench).
constexpr std::int64_t kCheckBytes = 512 << 10;
constexpr std::int64_t kCheckRows = 8 * kernels::kLinearRows;

// Tokens from which on packing them is shared: for fewer it takes less than waiting for the others.
constexpr std::int64_t kPrepareTokens = 16;
constexpr int kPreparers = 4;            // pieces of that for each thread
constexpr std::int64_t kPieceRows = 32;  // rows of a piece are a multiple of this

// Sixteen pieces or so for each thread, that none waits long for another.
std::int64_t piece_rows(std::int64_t rows, std::int64_t multiple, int threads) {
  const std::int64_t pieces = 16 * threads;
  return std::max<std::int64_t>((rows + pieces * multiple - 1) / (pieces * multiple), 1) * multiple;
}

bool has_codes(const kernels::LinearArgs& a) {
  return a.w.format == kernels::Format::kFp8 || a.w.format == kernels::Format::kFp4;
}

// Are tokens that were prepared for the one ready for the other?
bool same_form(const Weight& a, const Weight& b) {
  return a.format == b.format && a.cols == b.cols && a.block_cols == b.block_cols;
}

bool all_finite(const kernels::LinearArgs& a) {
  std::int32_t most = 0;
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    const float* y = a.y + t * a.y_stride + a.row_begin - a.y_begin;
    for (std::int64_t r = 0; r < a.row_end - a.row_begin; ++r) {
      std::int32_t bits;
      std::memcpy(&bits, y + r, sizeof bits);
      most = std::max(most, bits & 0x7fffffff);
    }
  }
  return most < 0x7f800000;
}

// A weight that is no number leaves none in the results of its row (kernels/linear.h).
void multiply_and_check(const Cpu& p, const Weight& w, const kernels::LinearArgs& a) {
  p.product(a);
  if (all_finite(a))
    p.model.trust_rows(w, a.row_begin, a.row_end);
  else
    p.model.check_rows(w, a.row_begin, a.row_end);
}

// fp8 codes, piece by piece, so that they are read from memory once.
void check_and_multiply(const Cpu& p, const Weight& w, kernels::LinearArgs a) {
  const auto row_bytes = static_cast<std::int64_t>(w.data_bytes()) / w.rows;
  const std::int64_t rows =
      std::max(kCheckBytes / row_bytes / kCheckRows, std::int64_t{1}) * kCheckRows;
  const std::int64_t end = a.row_end;
  for (a.row_end = a.row_begin; a.row_end < end;) {
    a.row_begin = a.row_end;
    a.row_end = std::min(a.row_begin + rows, end);
    p.model.check_rows(w, a.row_begin, a.row_end);
    p.product(a);
  }
}

}  // namespace

void Cpu::round(float* x, std::int64_t count) const {
  if (native) kernels::round_bf16(x, count);
}

void Cpu::product(const kernels::LinearArgs& a) const {
  (int8 && has_codes(a) ? kernels.linear_int8 : kernels.linear)(a);
}

decltype(kernels::KernelTable::prepare) Cpu::preparing(const kernels::LinearArgs& a,
                                                       std::int64_t sharing) const {
  const bool words = a.w.format != kernels::Format::kF32;
  if (!native || !words || sharing < kPrepareTokens) return nullptr;
  return int8 && has_codes(a) ? kernels.prepare_int8 : kernels.prepare;
}

kernels::LinearArgs product_of(const Cpu& p, const Weight& w, const float* x, std::int64_t x_stride,
                               std::int64_t n) {
  kernels::LinearArgs a{};
  a.w = w;
  a.row_end = w.rows;
  a.x = x;
  a.x_stride = x_stride;
  a.tokens = n;
  a.round_bf16 = a.bf16_x = p.native;
  return a;
}

void multiply(const Cpu& p, const Weight& w, kernels::LinearArgs a) {
  if (!same_form(w, a.w)) a.prepared = nullptr;
  a.w = w;
  if (p.model.passed(w)) return p.product(a);
  const bool shows = !has_codes(a) || (p.kernels.nan_codes && a.bf16_x && !p.int8);
  if (shows) return multiply_and_check(p, w, a);
  if (w.format == WeightFormat::kFp8) return check_and_multiply(p, w, a);
  p.model.check_rows(w, a.row_begin, a.row_end);  // fp4: of every 17 bytes the one of the scale
  p.product(a);
}

void prepare(const Cpu& p, kernels::LinearArgs& a) {
  const auto make = p.preparing(a, a.tokens);
  if (make == nullptr) return;
  std::byte* out = p.prepared;
  const int parts = kPreparers * p.pool.at_once();
  p.pool.share(parts, element_work(a.tokens * a.w.cols),
               [&](std::int64_t i, int) { make(a, static_cast<int>(i), parts, out); });
  a.prepared = out;
}

void multiply_all(const Cpu& p, std::span<Product> products) {
  prepare(p, products[0].a);
  const bool prepared = products[0].a.prepared != nullptr;
  std::int64_t pieces = 0, work = 0;
  for (Product& q : products) {
    const std::int64_t rows = q.a.row_end - q.a.row_begin;
    work += product_work(rows, q.a.w.cols, q.a.tokens);
    if (same_form(q.a.w, products[0].a.w)) q.a.prepared = products[0].a.prepared;
    q.rows = prepared ? piece_rows(rows, kPieceRows, p.pool.at_once()) : kernels::kLinearRows;
    q.first = pieces;
    pieces += q.count = (rows + q.rows - 1) / q.rows;
  }
  const auto some = [&](std::int64_t begin, std::int64_t end, int thread) {
    for (const Product& q : products) {
      const std::int64_t first = std::max<std::int64_t>(begin - q.first, 0);
      const std::int64_t last = std::min(end - q.first, q.count);
      if (first >= last) continue;
      kernels::LinearArgs part = q.a;
      part.row_begin = q.a.row_begin + first * q.rows;
      part.row_end = std::min(q.a.row_begin + last * q.rows, q.a.row_end);
      part.scratch = p.threads[static_cast<std::size_t>(thread)].linear.data();
      multiply(p, *q.w, part);
    }
  };
  if (!prepared) return p.pool.run(pieces, work, some);
  p.pool.share(pieces, work, [&](std::int64_t i, int thread) { some(i, i + 1, thread); });
}

void linear(const Cpu& p, const Weight& w, const float* x, std::int64_t x_stride, std::int64_t n,
            float* y, std::int64_t y_stride, bool round) {
  Product one{&w, product_of(p, w, x, x_stride, n)};
  one.a.y = y;
  one.a.y_stride = y_stride;
  one.a.round_bf16 = round && p.native;
  multiply_all(p, {&one, 1});
}

const float* quantised(const Cpu& p, const float* x, std::int64_t n, std::int64_t cols,
                       float* out) {
  if (!p.fp8_inputs()) return x;
  // Blocks are independent: rows are split into pieces of a few so that one token uses all threads.
  const std::int64_t block = p.config.fp8_block;
  const std::int64_t piece = std::max<std::int64_t>(1, 128 / block) * block;
  const std::int64_t per_row = (cols + piece - 1) / piece;
  p.pool.run(n * per_row, element_work(n * cols), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t first = u % per_row * piece, at = u / per_row * cols + first;
      p.kernels.quantise({x + at, out + at, std::min(piece, cols - first), block});
    }
  });
  return out;
}

void norm(const Cpu& p, const float* x, const model::Vector& gain, std::int64_t n, float* y) {
  const auto cols = static_cast<std::int64_t>(gain.size());
  p.pool.run(n, element_work(n * cols), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      kernels::rms_norm(x + t * cols, gain.data(), cols, p.config.norm_eps, y + t * cols);
      p.round(y + t * cols, cols);
    }
  });
}

}  // namespace v4i::forward::cpu
