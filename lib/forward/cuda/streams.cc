// mHC: the residual streams of a pass, and which tokens go on.  Spec 2.3.
#include "kernels/cuda/streams.h"

#include "kernels/cuda/norm.h"
#include "kernels/cuda/rows.h"
#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

namespace {

kc::StreamsMixArgs mix_args(const Pass& p, const HyperWeights& h) {
  kc::StreamsMixArgs a;
  a.streams = p.t->streams.data();
  a.fn = reinterpret_cast<const float*>(h.fn.data);
  a.fn_stride = h.fn.row_bytes / static_cast<std::int64_t>(sizeof(float));
  a.count = static_cast<std::int32_t>(p.config.hc_mult);
  a.width = static_cast<std::int32_t>(p.config.width);
  a.mixes = h.fn.rows;
  a.native = p.native;
  return a;
}

kc::StreamsCollapseArgs collapse_args(const Pass& p, const HyperWeights& h, const float* gain) {
  kc::StreamsCollapseArgs a;
  a.streams = p.t->streams.data();
  a.scale = h.scale;
  a.base = h.base;
  a.gain = gain;
  a.count = static_cast<std::int32_t>(p.config.hc_mult);
  a.width = static_cast<std::int32_t>(p.config.width);
  a.mixes = h.fn.rows;
  a.iterations = static_cast<std::int32_t>(p.config.hc_iters);
  a.norm_eps = p.config.norm_eps;
  a.hc_eps = p.config.hc_eps;
  a.quantise_block = p.fp8_block();
  a.native = p.native;
  return a;
}

}  // namespace

void hyper_pre(Pass& p, const HyperWeights& h, const float* gain) {
  kc::StreamsMixArgs mix = mix_args(p, h);
  mix.result = p.result;
  mix.partial = p.w.mix.data();
  mix.n = p.n();
  p.launch(kc::launch_streams_mix(mix), mix);
  p.result = {};
  kc::StreamsCollapseArgs c = collapse_args(p, h, gain);
  c.partial = p.w.mix.data();
  c.post = p.t->post.data();
  c.comb = p.t->comb.data();
  c.x = p.t->x.data();
  c.xq = p.native ? p.t->xq.data() : nullptr;
  c.n = p.n();
  p.launch(kc::launch_streams_collapse(c), c);
  p.mark(model::Part::kHyper);
}

void hyper_post(Pass& p) {
  if (p.result.post == nullptr) return;
  kc::StreamsPostArgs a;
  a.streams = p.t->streams.data();
  a.result = p.result;
  a.n = p.n();
  a.count = static_cast<std::int32_t>(p.config.hc_mult);
  a.width = static_cast<std::int32_t>(p.config.width);
  a.native = p.native;
  p.launch(kc::launch_streams_post(a), a);
  p.result = {};
  p.mark(model::Part::kHyper);
}

void hyper_head(Pass& p, const HeadWeights& h, const std::int32_t* rows, std::int32_t count) {
  kc::StreamsMixArgs mix = mix_args(p, h.hyper);
  mix.partial = p.w.head_mix.data();
  mix.row = rows;
  mix.n = count;
  p.launch(kc::launch_streams_mix(mix), mix);
  kc::StreamsCollapseArgs c = collapse_args(p, h.hyper, h.norm);
  c.partial = p.w.head_mix.data();
  c.row = rows;
  c.x = p.w.head_x.data();
  c.n = count;
  p.launch(kc::launch_streams_collapse(c), c);
}

void fill_rope(const Pass& p) {
  kc::RopeTableArgs a;
  a.tokens = p.tokens;
  a.freq[0] = p.weights.freq(false);
  a.freq[1] = p.weights.freq(true);
  a.table[0] = p.w.rope_a.data();
  a.table[1] = p.w.rope_b.data();
  a.n = p.n();
  a.rope = static_cast<std::int32_t>(p.config.rope_dim);
  p.launch(kc::launch_rope_table(a), a);
}

const float* rope_rows(const Pass& p, const model::LayerPlan& plan) {
  return (plan.yarn_rope ? p.w.rope_b : p.w.rope_a).data();
}

void keep_outputs(Pass& p, const Batch& out) {
  Workspace::Tokens &from = *p.t, &to = p.t == &p.w.a ? p.w.b : p.w.a;
  const auto hc = static_cast<std::int32_t>(p.config.hc_mult);
  const auto d = static_cast<std::int32_t>(p.config.width);
  p.batch = &out;
  p.tokens = p.data.outputs();
  p.t = &to;
  if (out.n() == 0) return;
  p.data.set_outputs(out);
  p.data.send_outputs(p.stream);
  kc::PickArgs a;
  a.tokens = p.tokens;
  a.n = p.n();
  const auto add = [&](const Array<float>& x, const Array<float>& y, std::int32_t width) {
    a.array[a.arrays++] = {x.data(), y.data(), width};
  };
  add(from.streams, to.streams, hc * d);
  add(from.post, to.post, hc);
  add(from.comb, to.comb, hc * hc);
  add(from.x, to.x, d);
  if (p.native) add(from.xq, to.xq, d);
  p.launch(kc::launch_pick(a), a);
  fill_rope(p);
}

}  // namespace v4i::forward::cuda
