// mHC: the residual is n streams; each sublayer reads a mixture of them and writes
// back through a doubly stochastic matrix.  Spec 2.3.
#include <algorithm>

#include "kernels/ops.h"
#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

constexpr std::int64_t kChannels = 512;  // of one piece of work

// m = (fn f) r -> pre (in place of the first n), post and the mixing matrix.
void coefficients(const Pass& p, const model::Hyper& h, const float* streams, float* m, float* post,
                  float* comb) {
  const auto n = static_cast<int>(p.config.hc_mult);
  const float r = kernels::rms_scale(streams, n * p.config.width, p.config.norm_eps);
  for (int i = 0; i < n; ++i) {
    m[i] = kernels::sigmoid(m[i] * r * h.scale[0] + h.base[static_cast<std::size_t>(i)]) +
           p.config.hc_eps;
    const int k = n + i;
    post[i] = 2 * kernels::sigmoid(m[k] * r * h.scale[1] + h.base[static_cast<std::size_t>(k)]);
  }
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
  p.pool.run(p.n() * parts, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t c = u % parts * kChannels;
      body(u / parts, c, std::min(c + kChannels, d));
    }
  });
}

}  // namespace

void hyper_pre(Pass& p, const model::Hyper& h, float* x) {
  Workspace& w = p.w;
  const std::int64_t n = p.config.hc_mult, d = p.config.width, mixes = (2 + n) * n;
  linear(p, h.fn, w.streams.data(), n * d, p.n(), w.mix.data(), mixes, false);
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t)
      coefficients(p, h, w.streams.data() + t * n * d, w.mix.data() + t * mixes,
                   w.post.data() + t * n, w.comb.data() + t * n * n);
  });
  over_channels(p, [&](std::int64_t t, std::int64_t begin, std::int64_t end) {
    p.kernels.collapse({streams_of(p, t, begin, end), w.mix.data() + t * mixes, x + t * d});
  });
}

void hyper_post(Pass& p, const float* out) {
  Workspace& w = p.w;
  const std::int64_t n = p.config.hc_mult, d = p.config.width;
  over_channels(p, [&](std::int64_t t, std::int64_t begin, std::int64_t end) {
    p.kernels.mix_back({streams_of(p, t, begin, end), out + t * d, w.post.data() + t * n,
                        w.comb.data() + t * n * n});
  });
}

void hyper_head(Pass& p, const model::HyperHead& h, std::int64_t t, float* x) {
  const std::int64_t n = p.config.hc_mult, d = p.config.width;
  const float* streams = p.w.streams.data() + t * n * d;
  float* m = p.w.mix.data() + t * n;
  linear(p, h.fn, streams, n * d, 1, m, n, false);
  const float r = kernels::rms_scale(streams, n * d, p.config.norm_eps);
  for (std::int64_t i = 0; i < n; ++i)
    m[i] = kernels::sigmoid(m[i] * r * h.scale[0] + h.base[static_cast<std::size_t>(i)]) +
           p.config.hc_eps;
  p.kernels.collapse({streams_of(p, t, 0, d), m, x});
}

}  // namespace v4i::forward
