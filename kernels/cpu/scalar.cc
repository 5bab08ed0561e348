// The scalar kernels: the definition.  Written to be read, with sums in double, so
// that every faster kernel is the less exact side of a comparison.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/quant.h"

namespace v4i::kernels {

namespace {

double weight_value(const Weight& w, std::int64_t r, std::int64_t k) {
  const auto* bytes = static_cast<const std::uint8_t*>(w.data);
  switch (w.format) {
    case Format::kF32: {
      float v;
      std::memcpy(&v, bytes + 4 * (r * w.cols + k), sizeof v);
      return v;
    }
    case Format::kBF16: {
      std::uint16_t code;
      std::memcpy(&code, bytes + 2 * (r * w.cols + k), sizeof code);
      return decode_bf16(code);
    }
    case Format::kFp8: {
      const std::int64_t scale_cols = (w.cols + w.block_cols - 1) / w.block_cols;
      const std::uint8_t scale = w.scale[r / w.block_rows * scale_cols + k / w.block_cols];
      return decode_e4m3(bytes[r * w.cols + k]) * decode_ue8m0(scale);
    }
    case Format::kFp4: {
      const unsigned pair = bytes[r * (w.cols / 2) + k / 2];
      const std::int64_t scale_cols = (w.cols + w.block_cols - 1) / w.block_cols;
      const std::uint8_t scale = w.scale[r * scale_cols + k / w.block_cols];
      return decode_e2m1(pair >> (k % 2 * 4) & 15u) * decode_ue8m0(scale);
    }
  }
  return 0;
}

void linear(const LinearArgs& a) {
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r) {
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const float* x = a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
      double sum = 0;
      for (std::int64_t k = 0; k < a.w.cols; ++k) sum += weight_value(a.w, r, k) * x[k];
      const float y = static_cast<float>(sum);
      a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
    }
  }
}

void read_row(const RowShape& s, const void* row, float* out) {
  if (s.packed)
    unpack_row(static_cast<const std::uint8_t*>(row), s.dim, s.rope, out);
  else
    std::memcpy(out, row, sizeof(float) * static_cast<std::size_t>(s.dim));
}

void attention_head(const AttentionArgs& a, std::int64_t head) {
  const int dim = a.shape.dim;
  const float* q = a.q + head * dim;
  float* out = a.out + head * dim;
  float* key = a.scratch;
  float* logit = a.scratch + dim;
  float top = -INFINITY;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    read_row(a.shape, a.row[i], key);
    double dot = 0;
    for (int c = 0; c < dim; ++c) dot += static_cast<double>(q[c]) * key[c];
    logit[i] = static_cast<float>(dot) * a.scale;
    top = std::max(top, logit[i]);
  }
  double total = std::exp(static_cast<double>(a.sink[head]) - top);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const double p = std::exp(static_cast<double>(logit[i]) - top);
    total += p;
    logit[i] = a.round_bf16 ? round_bf16(static_cast<float>(p)) : static_cast<float>(p);
  }
  std::fill(out, out + dim, 0.0f);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    read_row(a.shape, a.row[i], key);
    for (int c = 0; c < dim; ++c) out[c] += logit[i] * key[c];
  }
  for (int c = 0; c < dim; ++c) {
    const float o = out[c] / static_cast<float>(total);
    out[c] = a.round_bf16 ? round_bf16(o) : o;
  }
}

void attention(const AttentionArgs& a) {
  for (std::int64_t h = a.head_begin; h < a.head_end; ++h) attention_head(a, h);
}

double key_value(const IndexArgs& a, const std::uint8_t* key, int c) {
  if (a.packed) {
    const double scale = decode_ue8m0(key[a.dim / 2 + c / 32]);
    return decode_e2m1(key[c / 2] >> (c % 2 * 4) & 15u) * scale;
  }
  float v;
  std::memcpy(&v, key + 4 * c, sizeof v);
  return v;
}

void index_scores(const IndexArgs& a) {
  for (std::int64_t j = 0; j < a.count; ++j) {
    const std::uint8_t* key = a.keys + j * a.key_bytes;
    double score = 0;
    for (int h = 0; h < a.heads; ++h) {
      double dot = 0;
      for (int c = 0; c < a.dim; ++c) dot += a.q[h * a.dim + c] * key_value(a, key, c);
      float d = static_cast<float>(dot);
      if (a.round_bf16) d = round_bf16(d);
      const float product = std::max(d, 0.0f) * a.w[h];
      score += a.round_bf16 ? round_bf16(product) : product;
    }
    const float s = static_cast<float>(score);
    a.score[j] = a.round_bf16 ? round_bf16(s) : s;
  }
}

}  // namespace

const KernelTable kScalarKernels = {"scalar", linear, attention, index_scores};

}  // namespace v4i::kernels
