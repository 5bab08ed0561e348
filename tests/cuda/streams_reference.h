// Residual streams in double, as spec 2.3 has them, for streams_test.cc.  Each step is computed
// from what the kernel before it left.
#pragma once

#include <cmath>
#include <random>

#include "kernels/cuda/streams.h"
#include "kernels/quant.h"
#include "tests/cuda/emulate/run.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i::test::streams {

using namespace kernels::cuda;
using emulate::Buffer;

struct Shape {
  int n, count, width;
  bool native, with_result, by_found;
  int choices = 3, block = 128;
  int mixes() const { return streams_mixes(count); }
};

inline unsigned fresh_seed() { return std::random_device()(); }

inline Buffer<float> normal(std::int64_t n, unsigned seed, float scale = 1.0f, bool bf16 = false) {
  std::vector<float> x = test::normal(static_cast<std::size_t>(n), seed);
  for (float& v : x) v = bf16 ? kernels::round_bf16(v * scale) : v * scale;
  return Buffer<float>(x);
}

template <class T>
Buffer<T> copy(const Buffer<T>& b) {
  return Buffer<T>(b.vector());
}

// Token t of an array of rows; a copy, so that AddressSanitizer sees the row's end.
inline Buffer<float> row_of(const Buffer<float>& b, std::int64_t t, std::int64_t width) {
  return Buffer<float>(std::vector<float>(b.begin() + t * width, b.begin() + (t + 1) * width));
}

// What the kernels take and leave.
struct Tokens {
  Shape s;
  Buffer<float> streams, out, found, more, shared, post, comb;
  Buffer<std::int32_t> token_slot;
  Buffer<float> partial, new_post, new_comb, x, xq;

  void make_outputs() {
    partial = Buffer<float>(std::size_t(mix_partial_floats(s.n, s.count, s.width)));
    new_post = Buffer<float>(std::size_t(s.n * s.count));
    new_comb = Buffer<float>(std::size_t(s.n * s.count * s.count));
    x = Buffer<float>(std::size_t(s.n) * s.width);
    xq = Buffer<float>(std::size_t(s.n) * s.width);
  }
  SublayerResult result() const {
    if (!s.with_result) return {};
    SublayerResult r{out.data(), {}, post.data(), comb.data()};
    if (s.by_found) {
      r.out = nullptr;
      r.found = {found.data(), token_slot.data(), more.data(), shared.data(), s.choices};
    }
    return r;
  }
};

inline Tokens random_tokens(const Shape& s, unsigned seed) {
  const std::int64_t n = s.n, d = s.width;
  Tokens t{s,
           normal(n * s.count * d, seed, 1, s.native),
           normal(n * d, seed + 1, 1, s.native),
           normal(n * s.choices * d, seed + 2, 1, s.native),
           normal(n * d, seed + 3),
           normal(n * d, seed + 4, 1, s.native),
           normal(n * s.count, seed + 5),
           normal(n * s.count * s.count, seed + 6),
           Buffer<std::int32_t>(std::size_t(n * s.choices)),
           {},
           {},
           {},
           {},
           {}};
  std::mt19937 g(seed);
  for (std::size_t i = 0; i < t.token_slot.size(); ++i)
    t.token_slot[i] = g() % 4 == 0 ? -1 : std::int32_t(g() % t.token_slot.size());
  t.make_outputs();
  return t;
}

struct Weights {
  std::int64_t fn_stride;
  Buffer<float> fn, base, scale, gain;
};

inline Weights random_weights(const Shape& s, int mixes, unsigned seed) {
  const std::int64_t columns = std::int64_t{s.count} * s.width, stride = (columns + 15) / 16 * 16;
  return {stride, normal(mixes * stride, seed + 10, 2.0f / std::sqrt(float(columns))),
          normal(mixes, seed + 11), normal(3, seed + 12), normal(s.width, seed + 13)};
}

constexpr float kNormEps = 1e-6f, kHcEps = 1e-6f;

inline StreamsMixArgs mix_args(Tokens& t, const Weights& w) {
  return {t.streams.data(), t.result(), w.fn.data(), w.fn_stride, t.partial.data(), nullptr, t.s.n,
          t.s.count,        t.s.width,  t.s.mixes(), t.s.native};
}

inline StreamsCollapseArgs collapse_args(Tokens& t, const Weights& w) {
  StreamsCollapseArgs a;
  a.streams = t.streams.data(), a.partial = t.partial.data();
  a.scale = w.scale.data(), a.base = w.base.data(), a.gain = w.gain.data();
  a.post = t.new_post.data(), a.comb = t.new_comb.data();
  a.x = t.x.data(), a.xq = t.xq.data();
  a.n = t.s.n, a.count = t.s.count, a.width = t.s.width, a.mixes = t.s.mixes();
  a.iterations = 20, a.norm_eps = kNormEps, a.hc_eps = kHcEps;
  a.quantise_block = t.s.block, a.native = t.s.native;
  return a;
}

inline void run_both(Tokens& t, const Weights& w, std::uint64_t seed) {
  const StreamsMixArgs mix = mix_args(t, w);
  emulate::run(launch_streams_mix(mix), mix, seed);
  const StreamsCollapseArgs collapse = collapse_args(t, w);
  emulate::run(launch_streams_collapse(collapse), collapse, seed);
}

// ---- references

// A value that was rounded to bfloat16 may be half a unit in the last place away.
inline void check_near(double got, double want, double size, bool rounded) {
  const double bound = 3e-6 * size + (rounded ? std::ldexp(std::fabs(want), -8) + 1e-30 : 0);
  if (!(std::fabs(got - want) <= bound)) CHECK(got == want);
}

inline double result_of(const Tokens& t, std::int64_t i, std::int64_t c) {
  const std::int64_t d = t.s.width;
  if (!t.s.by_found) return t.out[std::size_t(i * d + c)];
  double sum = 0;
  for (int k = 0; k < t.s.choices; ++k) {
    const std::int64_t slot = t.token_slot[std::size_t(i * t.s.choices + k)];
    if (slot >= 0) sum += t.found[std::size_t(slot * d + c)];
  }
  sum += t.more[std::size_t(i * d + c)];
  sum += t.shared[std::size_t(i * d + c)];
  return t.s.native ? kernels::round_bf16(float(sum)) : sum;
}

inline void check_streams(const Tokens& before, const Buffer<float>& after) {
  const Shape& s = before.s;
  const std::int64_t d = s.width;
  for (std::int64_t i = 0; i < s.n; ++i)
    for (std::int64_t c = 0; c < d; ++c)
      for (int k = 0; k < s.count; ++k) {
        const auto at = [&](int j) { return std::size_t((i * s.count + j) * d + c); };
        if (!s.with_result) {
          if (after[at(k)] != before.streams[at(k)]) CHECK(false);
          continue;
        }
        const double out = result_of(before, i, c);
        double y = before.post[std::size_t(i * s.count + k)] * out, size = std::fabs(y);
        for (int j = 0; j < s.count; ++j) {
          const double m = before.comb[std::size_t((i * s.count + j) * s.count + k)];
          y += m * before.streams[at(j)];
          size += std::fabs(m * before.streams[at(j)]);
        }
        // The sum of experts may itself be rounded the other way.
        if (s.native && s.by_found) size += 4000 * std::fabs(out);
        check_near(after[at(k)], y, size, s.native);
      }
}

struct Reference {
  std::vector<double> pre, post, comb;
};

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline void sinkhorn(std::vector<double>& m, int n) {
  const auto normalise = [&](bool columns, double eps_sum, double eps_add) {
    for (int i = 0; i < n; ++i) {
      double sum = 0;
      const auto at = [&](int k) { return std::size_t(columns ? k * n + i : i * n + k); };
      for (int k = 0; k < n; ++k) sum += m[at(k)];
      for (int k = 0; k < n; ++k) m[at(k)] = m[at(k)] / (sum + eps_sum) + eps_add;
    }
  };
  for (double& v : m) v = std::exp(v);
  normalise(false, 0, kHcEps);
  normalise(true, kHcEps, 0);
  for (int i = 1; i < 20; ++i) {
    normalise(false, kHcEps, 0);
    normalise(true, kHcEps, 0);
  }
}

// From the streams of token i as they are after the mix.
inline Reference coefficients(const Shape& s, const Weights& w, int mixes, const float* f) {
  const std::int64_t columns = std::int64_t{s.count} * s.width;
  double squares = 0;
  for (std::int64_t c = 0; c < columns; ++c) squares += double{f[c]} * f[c];
  const double r = 1 / std::sqrt(squares / double(columns) + kNormEps);
  const int n = s.count;
  Reference out;
  for (int m = 0; m < mixes; ++m) {
    double sum = 0;
    for (std::int64_t c = 0; c < columns; ++c)
      sum += double{w.fn[std::size_t(m * w.fn_stride + c)]} * f[c];
    const int part = m < n ? 0 : m < 2 * n ? 1 : 2;
    const double v = sum * r * w.scale[std::size_t(part)] + w.base[std::size_t(m)];
    if (part == 0) out.pre.push_back(sigmoid(v) + kHcEps);
    if (part == 1) out.post.push_back(2 * sigmoid(v));
    if (part == 2) out.comb.push_back(v);
  }
  if (!out.comb.empty()) sinkhorn(out.comb, n);
  return out;
}

// The normed row, from streams f; rounded twice when native.
inline void check_row(const Shape& s, const Weights& w, const Reference& c, const float* f,
                      const float* x) {
  std::vector<double> y(std::size_t(s.width)), size(y);
  double squares = 0;
  for (int i = 0; i < s.width; ++i) {
    double sum = 0;
    for (int k = 0; k < s.count; ++k) {
      sum += c.pre[std::size_t(k)] * f[k * s.width + i];
      size[std::size_t(i)] += std::fabs(c.pre[std::size_t(k)] * f[k * s.width + i]);
    }
    y[std::size_t(i)] = s.native ? kernels::round_bf16(float(sum)) : sum;
    squares += y[std::size_t(i)] * y[std::size_t(i)];
  }
  const double r = 1 / std::sqrt(squares / s.width + kNormEps);
  int turned = 0;  // rounded to the other side before the norm
  for (int i = 0; i < s.width; ++i) {
    const double want = y[std::size_t(i)] * r * w.gain[std::size_t(i)];
    const double distance = std::fabs(x[i] - want), unit = std::ldexp(std::fabs(want), -8);
    if (s.native && distance > unit * 1.001 && distance < 3 * unit) {
      ++turned;
      continue;
    }
    check_near(x[i], want, size[std::size_t(i)] * r * std::fabs(w.gain[std::size_t(i)]), s.native);
  }
  CHECK(turned <= 4 + s.width / 50);
}

inline void check_tokens(const Tokens& t, const Weights& w) {
  const Shape& s = t.s;
  for (std::int64_t i = 0; i < s.n; ++i) {
    const float* f = t.streams.data() + i * s.count * s.width;
    const float* x = t.x.data() + i * s.width;
    const Reference c = coefficients(s, w, s.mixes(), f);
    for (std::size_t k = 0; k < c.post.size(); ++k)
      check_near(t.new_post[std::size_t(i) * c.post.size() + k], c.post[k], 1, false);
    for (std::size_t k = 0; k < c.comb.size(); ++k)
      check_near(t.new_comb[std::size_t(i) * c.comb.size() + k], c.comb[k], 1, false);
    check_row(s, w, c, f, x);
    std::vector<float> quantised(std::size_t(s.width));
    kernels::fp8_sim(x, quantised.data(), s.width, s.block);
    CHECK(std::memcmp(quantised.data(), t.xq.data() + i * s.width,
                      sizeof(float) * quantised.size()) == 0);
  }
}

}  // namespace v4i::test::streams
