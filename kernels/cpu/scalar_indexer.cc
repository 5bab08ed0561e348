// The scalar kernels: the definition of indexer.  Written to be read, with sums in double, so
// that every faster kernel is the less exact side of a comparison.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {

namespace {

double key_value(const IndexArgs& a, const std::uint8_t* key, int c) {
  if (a.packed) {
    const double scale = decode_ue8m0(key[a.dim / 2 + c / 32]);
    return decode_e2m1(key[c / 2] >> (c % 2 * 4) & 15u) * scale;
  }
  float v;
  std::memcpy(&v, key + 4 * c, sizeof v);
  return v;
}

float score_key(const IndexArgs& a, const float* q, const float* w, const std::uint8_t* key) {
  double score = 0;
  for (int h = 0; h < a.heads; ++h) {
    double dot = 0;
    for (int c = 0; c < a.dim; ++c) dot += q[h * a.dim + c] * key_value(a, key, c);
    float d = static_cast<float>(dot);
    if (a.round_bf16) d = round_bf16(d);
    const float product = std::max(d, 0.0f) * w[h];
    score += a.round_bf16 ? round_bf16(product) : product;
  }
  const float s = static_cast<float>(score);
  return a.round_bf16 ? round_bf16(s) : s;
}

}  // namespace

void scalar::index_scores(const IndexArgs& a) {
  for (std::int64_t t = 0; t < a.queries; ++t)
    for (std::int64_t j = 0; j < a.count; ++j)
      a.score[t * a.score_stride + j] =
          score_key(a, a.q + t * a.heads * a.dim, a.w + t * a.heads,
                    a.block[j / a.block_keys] + j % a.block_keys * a.key_bytes);
}

}  // namespace v4i::kernels
