// Router and experts of a layer, over the tokens of a pass.  Spec 2.8 and 2.9.
#include <algorithm>

#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

void moe(Pass& p, const LayerOf& layer) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const model::Moe& m = layer.block.ffn;
  const Routed routed = route(p, layer);
  const Ahead ahead = guess_next(p, layer);
  p.mark(model::Part::kRouter);
  std::fill_n(w.out.data(), p.n() * c.width, 0.0f);
  const float* x = quantised(p, w.x.data(), p.n(), c.width, w.xq.data());
  run_experts(
      p, p.experts,
      {m, c.shared_experts > 0, layer.experts, routed, x, w.wide.data(), w.out.data(), ahead},
      p.profile);
  p.round(w.out.data(), p.n() * c.width);
  p.mark(model::Part::kRouted);
}

}  // namespace v4i::forward::cpu
