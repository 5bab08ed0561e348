// Which experts a token goes to, and which it may go to next.  Spec 2.8.
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

// Turns the products of the gate into scores, and chooses `k` experts.
void choose(const Pass& p, const model::Moe& m, const model::LayerPlan& plan, std::int64_t k,
            std::int64_t t) {
  const std::int64_t experts = m.gate.rows;
  float* score = p.w.router.data() + t * experts;
  for (std::int64_t e = 0; e < experts; ++e)
    score[e] = kernels::sqrt_softplus(score[e] / p.config.gate_temp);
  std::int32_t* chosen = p.w.expert.data() + t * k;
  if (plan.router == model::RouterKind::kHash) {
    const std::int64_t id = p.token(t).id;
    std::copy_n(m.tid2eid.data() + id * k, k, chosen);
  } else {
    best_experts(score, p.token(t).role == 0 ? m.bias : m.bias_media, experts, k, chosen);
  }
}

void route_token(const Pass& p, const LayerOf& layer, std::int64_t t) {
  const model::LayerPlan& plan = layer.plan;
  const std::int64_t k = layer.active;
  choose(p, layer.block.ffn, plan, k, t);
  const float* score = p.w.router.data() + t * layer.block.ffn.gate.rows;
  const std::int32_t* chosen = p.w.expert.data() + t * k;
  float total = 0;
  for (std::int64_t i = 0; i < k; ++i) total += score[chosen[i]];
  total = plan.route_norm ? total + plan.route_eps : 1.0f;
  float* weight = p.w.expert_weight.data() + t * k;
  for (std::int64_t i = 0; i < k; ++i) weight[i] = score[chosen[i]] / total * p.config.route_scale;
}

// The products of a layer's gate with x.
void gate(const Pass& p, const model::Moe& m) {
  linear(p, m.gate, p.w.x.data(), p.config.width, p.n(), p.w.router.data(), m.gate.rows, false);
}

}  // namespace

Routed route(Pass& p, const LayerOf& layer) {
  Workspace& w = p.w;
  gate(p, layer.block.ffn);
  const std::int64_t compared = p.n() * layer.block.ffn.gate.rows * (layer.active + 8);
  p.pool.run(p.n(), element_work(compared), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) route_token(p, layer, t);
  });
  return group_by_expert(
      {p.n(), layer.active, layer.block.ffn.gate.rows, w.expert.data(), w.expert_weight.data()},
      {w.expert_begin.data(), w.active.data(), w.slot_token.data(), w.slot_weight.data()});
}

// What a token uses of the hash layers is known before the first of them.
void hint_hashed(Pass& p) {
  if (!p.experts.takes_hints()) return;
  const std::int64_t k = p.config.experts_active;
  for (std::size_t l = 0; l < p.model.plan().layers.size(); ++l) {
    if (p.model.plan().layers[l].router != model::RouterKind::kHash) continue;
    const std::vector<std::int32_t>& table = p.model.weights().layers[l].ffn.tid2eid;
    std::int32_t* used = p.w.expert_begin.data();
    std::fill_n(used, p.config.experts, 0);
    for (const Token& t : p.batch->tokens())
      for (std::int64_t i = 0; i < k; ++i) used[table[static_cast<std::size_t>(t.id * k + i)]] = 1;
    std::size_t n = 0;
    for (std::int32_t e = 0; e < p.config.experts; ++e)
      if (used[e] != 0) p.w.active[n++] = e;
    p.experts.hint(static_cast<int>(l), {p.w.active.data(), n}, true);
  }
}

// The next layer's gate on the input of this one's experts: streams change little from layer to
// layer.  Overwrites the scores and choices of this layer, which have been grouped.
Ahead guess_next(Pass& p, const LayerOf& layer) {
  const std::size_t next = static_cast<std::size_t>(layer.experts) + 1;
  const auto& layers = p.model.weights().layers;
  if (next >= layers.size() || p.n() > Workspace::kGuessTokens) return {};
  const model::LayerPlan& plan = p.model.plan().layers[next];
  const model::Moe& m = layers[next].ffn;
  // A gate that was never read is checked by its own layer first, so that errors keep their order.
  if (plan.router == model::RouterKind::kHash || !p.model.passed(m.gate)) return {};
  if (!p.experts.wants_guesses()) return {};
  gate(p, m);
  const std::int64_t k = p.config.experts_active;
  for (std::int64_t t = 0; t < p.n(); ++t) choose(p, m, plan, k, t);
  std::int32_t* ids = p.w.guess.data();
  std::copy_n(p.w.expert.data(), p.n() * k, ids);
  std::sort(ids, ids + p.n() * k);
  const auto n = static_cast<std::size_t>(std::unique(ids, ids + p.n() * k) - ids);
  return {static_cast<int>(next), {ids, n}};
}

}  // namespace v4i::forward::cpu
