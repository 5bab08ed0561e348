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

// Counting sort of (token, choice) by expert; tokens stay in order.
std::int64_t group_by_expert(Pass& p) {
  Workspace& w = p.w;
  const std::int64_t k = p.config.experts_active, experts = p.config.experts;
  std::fill_n(w.expert_begin.data(), experts + 1, 0);
  for (std::int64_t s = 0; s < p.n() * k; ++s)
    ++w.expert_begin[std::size_t(w.expert[std::size_t(s)]) + 1];
  std::int64_t active = 0;
  for (std::int32_t e = 0; e < experts; ++e) {
    if (w.expert_begin[std::size_t(e) + 1] > 0) w.active[std::size_t(active++)] = e;
    w.expert_begin[std::size_t(e) + 1] += w.expert_begin[std::size_t(e)];
  }
  // Filling moves expert_begin[e] to the end of e, which is the begin of e + 1.
  for (std::int64_t s = 0; s < p.n() * k; ++s) {
    const auto e = std::size_t(w.expert[std::size_t(s)]);
    const auto slot = std::size_t(w.expert_begin[e]++);
    w.slot_token[slot] = static_cast<std::int32_t>(s / k);
    w.slot_weight[slot] = w.expert_weight[std::size_t(s)];
  }
  for (std::int64_t e = experts; e > 0; --e)
    w.expert_begin[std::size_t(e)] = w.expert_begin[std::size_t(e - 1)];
  w.expert_begin[0] = 0;
  return active;
}

}  // namespace

std::int64_t route(Pass& p, const model::Moe& m, const model::LayerPlan& plan) {
  const model::Config& c = p.config;
  linear(p, m.gate, p.w.x.data(), c.width, p.n(), p.w.router.data(), c.experts, false);
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) route_token(p, m, plan, t);
  });
  return group_by_expert(p);
}

}  // namespace v4i::forward::cpu
