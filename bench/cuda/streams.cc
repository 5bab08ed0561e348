// The residual streams between two sublayers.
#include "kernels/cuda/streams.h"

#include <algorithm>

#include "bench/cuda/families.h"

namespace v4i::bench::cuda {
namespace {

// From the result of one sublayer to the input of the next.
struct Run {
  kc::StreamsMixArgs mix;
  kc::StreamsCollapseArgs collapse;
  kc::StreamsPostArgs post;

  Run(Meter& m, int tokens, float* streams) {
    const Shapes& s = m.shapes();
    const std::int64_t n = tokens, d = s.width;
    mix.streams = streams;
    mix.result.out = m.floats(n * d);
    mix.result.post = m.floats(n * s.hc);
    mix.result.comb = m.floats(n * s.hc * s.hc);
    mix.mixes = kc::streams_mixes(s.hc);
    mix.fn_stride = s.hc * d;
    mix.fn = m.floats(mix.mixes * mix.fn_stride);
    mix.partial = m.room(kc::mix_partial_floats(n, s.hc, s.width));
    mix.n = tokens, mix.count = s.hc, mix.width = s.width;
    mix.native = 1;
    collapse.streams = streams;
    collapse.partial = mix.partial;
    collapse.scale = m.floats(3);
    collapse.base = m.floats(mix.mixes);
    collapse.gain = m.floats(d);
    collapse.post = m.room(n * s.hc);
    collapse.comb = m.room(n * s.hc * s.hc);
    collapse.x = m.room(n * d);
    collapse.xq = m.room(n * d);
    collapse.n = tokens, collapse.count = s.hc, collapse.width = s.width;
    collapse.mixes = mix.mixes;
    collapse.iterations = 20;
    collapse.norm_eps = collapse.hc_eps = 1e-6f;
    collapse.quantise_block = 128;
    collapse.native = 1;
    post = {streams, mix.result, tokens, s.hc, s.width, 1};
  }
};

void measure(Meter& m, int tokens) {
  const Shapes& s = m.shapes();
  const double d = 4.0 * tokens * s.width, streams = d * s.hc;
  const double fn = 4.0 * kc::streams_mixes(s.hc) * s.hc * s.width;
  const bool many = tokens > 16;  // else the streams stay in caches, and fn is what is read
  Case c{"streams_mix",
         "mixed back, then fn",
         tokens,
         fn + (many ? 2 * streams + d : 0),
         2.0 * tokens * kc::streams_mixes(s.hc) * s.hc * s.width,
         fn};
  try {
    m.begin();
    float* in = m.room(std::int64_t{tokens} * s.hc * s.width);
    std::vector<Run> all;
    const int fit = static_cast<int>(std::max(1.0, 400e6 / (fn + d)));
    const int count = std::min(m.variants(c), fit);
    for (int v = 0; v < count; ++v) all.emplace_back(m, tokens, in);
    const auto of = [&](int v) -> const Run& { return all[static_cast<std::size_t>(v % count)]; };
    m.measure(c, [&](const fc::Stream& st, int v) {
      st.launch(kc::launch_streams_mix(of(v).mix), of(v).mix);
    });
    m.measure({"streams_collapse", "collapse, norm, quantise", tokens, streams + 2 * d, 0, 0},
              [&](const fc::Stream& st, int v) {
                st.launch(kc::launch_streams_collapse(of(v).collapse), of(v).collapse);
              });
    c.kernel = "streams";
    c.shape = "mix, then collapse";
    c.bytes += many ? streams + 2 * d : 0;
    m.measure(c, [&](const fc::Stream& st, int v) {
      st.launch(kc::launch_streams_mix(of(v).mix), of(v).mix);
      st.launch(kc::launch_streams_collapse(of(v).collapse), of(v).collapse);
    });
    m.measure({"streams_post", "mixed back alone", tokens, 2 * streams + d, 0, 0},
              [&](const fc::Stream& st, int v) {
                st.launch(kc::launch_streams_post(of(v).post), of(v).post);
              });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

}  // namespace

void measure_streams(Meter& m) {
  for (const int tokens : m.shapes().tokens()) measure(m, tokens);
}

}  // namespace v4i::bench::cuda
