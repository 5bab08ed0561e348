// mHC: the residual is n streams; each sublayer reads a mixture of them and writes
// back through a doubly stochastic matrix.  Spec 2.3; lagged: V4.1's 3.1 and 3.2.
#include <algorithm>

#include "kernels/ops.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

constexpr std::int64_t kChannels = 512;  // of one piece of work
constexpr std::int64_t kTokens = 8;      // whose streams stay in a second-level cache meanwhile

// m = (fn f) r -> pre (in place of the first n), post and the mixing matrix, of token t.  Lagged,
// the site before supplies pre, and the next one gets this site's.
void coefficients(const Pass& p, const model::Hyper& h, std::int64_t t) {
  const auto n = static_cast<int>(p.config.hc_mult);
  const float* streams = p.w.streams.data() + t * n * p.config.width;
  float *m = p.w.mix.data() + t * (2 + n) * n, *post = p.w.post.data() + t * n;
  float* comb = p.w.comb.data() + t * n * n;
  const float r = kernels::rms_scale(streams, n * p.config.width, p.config.norm_eps);
  for (int i = 0; i < n; ++i) {
    m[i] = kernels::sigmoid(m[i] * r * h.scale[0] + h.base[static_cast<std::size_t>(i)]) +
           p.config.hc_eps;
    const int k = n + i;
    post[i] = 2 * kernels::sigmoid(m[k] * r * h.scale[1] + h.base[static_cast<std::size_t>(k)]);
  }
  if (p.lagged) std::swap_ranges(m, m + n, p.w.pre.data() + t * n);
  for (int i = 0; i < n * n; ++i) {
    const int k = 2 * n + i;
    comb[i] = m[k] * r * h.scale[2] + h.base[static_cast<std::size_t>(k)];
  }
  kernels::sinkhorn(comb, n, static_cast<int>(p.config.hc_iters), p.config.hc_eps);
}

kernels::StreamsArgs streams_of(const Pass& p, std::int64_t t, std::int64_t begin,
                                std::int64_t end) {
  const std::int64_t d = p.config.width;
  const auto n = static_cast<int>(p.config.hc_mult);
  return {p.w.streams.data() + t * n * d, n, d, begin, end, p.native};
}

// Splits tokens x channels over the threads.
template <class Body>
void over_channels(Pass& p, Body body) {
  const std::int64_t d = p.config.width, parts = (d + kChannels - 1) / kChannels;
  const std::int64_t work = element_work(p.n() * d * 2 * p.config.hc_mult);
  p.pool.run(p.n() * parts, work, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t c = u % parts * kChannels;
      body(u / parts, c, std::min(c + kChannels, d));
    }
  });
}

void mix_back(Pass& p, const float* out, std::int64_t t, std::int64_t begin, std::int64_t end) {
  const std::int64_t n = p.config.hc_mult;
  p.kernels.mix_back({streams_of(p, t, begin, end), out + t * p.config.width,
                      p.w.post.data() + t * n, p.w.comb.data() + t * n * n});
}

void collapse(Pass& p, std::int64_t t, std::int64_t begin, std::int64_t end, float* x) {
  const std::int64_t mixes = (2 + p.config.hc_mult) * p.config.hc_mult;
  p.kernels.collapse(
      {streams_of(p, t, begin, end), p.w.mix.data() + t * mixes, x + t * p.config.width});
}

// One thread takes tokens [begin, end) from the output of one sublayer, if any, to the input of
// the next: their streams pass through its cache once.
void some_tokens(Pass& p, const float* out, const model::Hyper& h, std::int64_t begin,
                 std::int64_t end, float* scratch, float* x) {
  Workspace& w = p.w;
  const std::int64_t n = p.config.hc_mult, d = p.config.width, mixes = (2 + n) * n;
  for (std::int64_t t = begin; out != nullptr && t < end; ++t) mix_back(p, out, t, 0, d);
  kernels::LinearArgs fn =
      product_of(p, h.fn, w.streams.data() + begin * n * d, n * d, end - begin);
  fn.y = w.mix.data() + begin * mixes;
  fn.y_stride = mixes;
  fn.round_bf16 = false;
  fn.scratch = scratch;
  multiply(p, h.fn, fn);
  for (std::int64_t t = begin; t < end; ++t) {
    coefficients(p, h, t);
    collapse(p, t, 0, d, x);
  }
}

}  // namespace

void hyper_pre(Pass& p, const model::Hyper& h, float* x, const float* out) {
  Workspace& w = p.w;
  const std::int64_t n = p.config.hc_mult, d = p.config.width, mixes = (2 + n) * n;
  if (p.n() >= kTokens * p.pool.at_once()) {
    p.pool.share((p.n() + kTokens - 1) / kTokens, product_work(mixes, n * d, p.n()),
                 [&](std::int64_t i, int thread) {
                   some_tokens(p, out, h, i * kTokens, std::min((i + 1) * kTokens, p.n()),
                               p.threads[static_cast<std::size_t>(thread)].linear.data(), x);
                 });
    return;
  }
  if (out != nullptr) hyper_post(p, out);
  linear(p, h.fn, w.streams.data(), n * d, p.n(), w.mix.data(), mixes, false);
  p.pool.run(p.n(), element_work(p.n() * n * d), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) coefficients(p, h, t);
  });
  over_channels(p, [&](std::int64_t t, std::int64_t begin, std::int64_t end) {
    collapse(p, t, begin, end, x);
  });
}

void hyper_post(Pass& p, const float* out) {
  over_channels(p, [&](std::int64_t t, std::int64_t begin, std::int64_t end) {
    mix_back(p, out, t, begin, end);
  });
}

void hyper_head(Pass& p, const model::HyperHead& h, std::int64_t t, float* x) {
  const std::int64_t n = p.config.hc_mult, d = p.config.width;
  const float* streams = p.w.streams.data() + t * n * d;
  if (p.lagged) return p.kernels.collapse({streams_of(p, t, 0, d), p.w.pre.data() + t * n, x});
  float* m = p.w.mix.data() + t * n;
  linear(p, h.fn, streams, n * d, 1, m, n, false);
  const float r = kernels::rms_scale(streams, n * d, p.config.norm_eps);
  for (std::int64_t i = 0; i < n; ++i)
    m[i] = kernels::sigmoid(m[i] * r * h.scale[0] + h.base[static_cast<std::size_t>(i)]) +
           p.config.hc_eps;
  p.kernels.collapse({streams_of(p, t, 0, d), m, x});
}

}  // namespace v4i::forward::cpu
