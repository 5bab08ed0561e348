// Which experts a token goes to.  Spec 2.8.
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

// The K best of score + bias, ties to the lower expert.
void best_experts(const float* score, const model::Vector& bias, std::int64_t experts,
                  std::int64_t k, std::int32_t* out) {
  const auto better = [&](std::int32_t a, std::int32_t b) {
    const float x = score[a] + bias[static_cast<std::size_t>(a)];
    const float y = score[b] + bias[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  };
  for (std::int64_t i = 0; i < k; ++i) {
    std::int32_t best = -1;
    for (std::int32_t e = 0; e < experts; ++e) {
      if (std::find(out, out + i, e) != out + i) continue;
      if (best < 0 || better(e, best)) best = e;
    }
    out[i] = best;
  }
}

void route_token(const Pass& p, const model::Moe& m, const model::LayerPlan& plan, std::int64_t t) {
  const std::int64_t experts = p.config.experts, k = p.config.experts_active;
  float* score = p.w.router.data() + t * experts;
  for (std::int64_t e = 0; e < experts; ++e) score[e] = kernels::sqrt_softplus(score[e]);
  std::int32_t* chosen = p.w.expert.data() + t * k;
  if (plan.router == model::RouterKind::kHash) {
    const std::int64_t id = p.token(t).id;
    std::copy_n(m.tid2eid.data() + id * k, k, chosen);
  } else {
    best_experts(score, m.bias, experts, k, chosen);
  }
  float total = 0;
  for (std::int64_t i = 0; i < k; ++i) total += score[chosen[i]];
  float* weight = p.w.expert_weight.data() + t * k;
  for (std::int64_t i = 0; i < k; ++i) weight[i] = score[chosen[i]] / total * p.config.route_scale;
}

}  // namespace

Routed route(Pass& p, const model::Moe& m, const model::LayerPlan& plan) {
  const model::Config& c = p.config;
  Workspace& w = p.w;
  linear(p, m.gate, w.x.data(), c.width, p.n(), w.router.data(), c.experts, false);
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) route_token(p, m, plan, t);
  });
  return group_by_expert(
      {p.n(), c.experts_active, c.experts, w.expert.data(), w.expert_weight.data()},
      {w.expert_begin.data(), w.active.data(), w.slot_token.data(), w.slot_weight.data()});
}

}  // namespace v4i::forward::cpu
