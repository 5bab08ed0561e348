// Router and experts of a layer.  Spec 2.8 and 2.9; as lib/forward/cpu/moe.cc does it.
#include <algorithm>

#include "kernels/cuda/experts.h"
#include "kernels/cuda/router.h"
#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

namespace {

void route(const Pass& p, const LayerOf& layer) {
  const model::Config& c = p.config;
  const BlockWeights& b = layer.weights;
  const kc::Product gate = product(b.gate, p.t->x.data(), p.w.router.data(), false);
  multiply(p, {&gate, 1});
  kc::RouteArgs a;
  a.scores = p.w.router.data();
  a.bias[0] = a.bias[1] = b.bias;
  if (layer.plan.router == model::RouterKind::kHash) a.by_id = b.tid2eid;
  a.tokens = p.tokens;
  a.expert = p.w.expert.data();
  a.weight = p.w.expert_weight.data();
  a.groups.elsewhere = p.experts.elsewhere();
  a.groups.begin = p.w.begin.data();
  a.groups.active = p.w.active.data();
  a.groups.active_count = p.w.active_count.data();
  a.groups.slot_token = p.w.slot_token.data();
  a.groups.slot_weight = p.w.slot_weight.data();
  a.groups.token_slot = p.w.token_slot.data();
  a.n = p.n();
  a.experts = static_cast<std::int32_t>(c.experts);
  a.choices = static_cast<std::int32_t>(c.experts_active);
  a.scale = c.route_scale;
  p.launch(kc::launch_route(a), a);
  p.launch(kc::launch_group(a), a);
}

kc::GateArgs gate_args(const Pass& p, float* gate, const float* up, std::int32_t slots) {
  kc::GateArgs a;
  a.gate = gate;
  a.up = up;
  a.slots = slots;
  a.width = static_cast<std::int32_t>(p.config.expert_width);
  a.limit = p.config.swiglu_limit;
  a.quantise_block = p.fp8_block();
  a.native = p.native;
  return a;
}

void run_shared(const Pass& p, const ExpertWeights& e, const float* x) {
  const kc::Product up[] = {product(e.w1, x, p.w.shared_gate.data()),
                            product(e.w3, x, p.w.shared_up.data())};
  multiply(p, up);
  const kc::GateArgs gate = gate_args(p, p.w.shared_gate.data(), p.w.shared_up.data(), p.n());
  p.launch(kc::launch_gate(gate), gate);
  const kc::Product down = product(e.w2, p.w.shared_gate.data(), p.w.shared.data());
  multiply(p, {&down, 1});
}

void run_routed(const Pass& p, const DeviceExperts::Layer& layer, const float* x) {
  const model::Config& c = p.config;
  const auto slots = static_cast<std::int32_t>(p.n() * c.experts_active);
  kc::ExpertsArgs e;
  e.up = layer.up;
  e.down = layer.down;
  e.places = layer.places;
  e.groups = {p.w.active.data(), p.w.active_count.data(), p.w.begin.data(), p.w.slot_token.data()};
  e.max_groups = std::min(p.experts.count(), slots);
  e.tokens = p.n();
  e.x = x;
  e.gate = p.w.gate.data();
  e.up_out = p.w.up.data();
  e.found = p.w.found.data();
  e.native = p.native;
  const auto run = [&](kc::ExpertProductsArgs a) {
    const kc::ExpertLaunches launches = kc::launch_experts(a);
    for (const kc::Launch& l : launches.launch) p.launch(l, a);
  };
  run(kc::experts_up(e));
  kc::GateArgs gate = gate_args(p, e.gate, e.up_out, slots);
  gate.weight = p.w.slot_weight.data();
  gate.count = p.w.begin.data() + c.experts;
  p.launch(kc::launch_gate(gate), gate);
  run(kc::experts_down(e));
}

// What the CPU needs for its experts, on its way to the host.
void hand_over(const Pass& p, const float* x) {
  const auto n = static_cast<std::size_t>(p.n());
  const auto choices = n * static_cast<std::size_t>(p.config.experts_active);
  p.stream.download(p.exchange.expert.host(), p.w.expert.data(), choices * sizeof(std::int32_t));
  p.stream.download(p.exchange.weight.host(), p.w.expert_weight.data(), choices * sizeof(float));
  p.stream.download(p.exchange.x.host(), x,
                    n * static_cast<std::size_t>(p.config.width) * sizeof(float));
  p.stream.record(p.exchange.ready);
}

// The CPU's experts, while the device computes its own.
void run_host(const Pass& p, const LayerOf& layer) {
  p.exchange.ready.wait();
  const std::int64_t active = p.host_experts->run(
      layer.experts, layer.block.ffn, p.n(), p.exchange.expert.as<std::int32_t>(),
      p.exchange.weight.as<float>(), p.exchange.x.as<float>(), p.exchange.more.as<float>());
  if (p.profile != nullptr) p.profile->add_experts(active);
  p.stream.upload(p.w.more.data(), p.exchange.more.host(),
                  static_cast<std::size_t>(p.n() * p.config.width) * sizeof(float));
}

void count_experts(const Pass& p) {
  if (p.profile == nullptr) return;
  std::int32_t active = 0;
  p.stream.download(&active, p.w.active_count.data(), sizeof active);
  p.stream.wait();
  p.profile->add_experts(active);
}

}  // namespace

void moe(Pass& p, const LayerOf& layer) {
  const float* x = quantised(p, p.t->x.data(), p.t->xq.data());
  route(p, layer);
  if (p.host_experts != nullptr) hand_over(p, x);
  p.mark(model::Part::kRouter);
  count_experts(p);
  const bool shared = p.config.shared_experts > 0;
  if (shared) run_shared(p, layer.weights.shared, x);
  p.mark(model::Part::kShared);
  if (p.experts.count() > 0) run_routed(p, p.experts.layer(layer.experts), x);
  if (p.host_experts != nullptr) run_host(p, layer);
  p.mark(model::Part::kRouted);
  p.result = {};
  p.result.found.found = p.w.found.data();
  p.result.found.token_slot = p.w.token_slot.data();
  p.result.found.choices = static_cast<std::int32_t>(p.config.experts_active);
  if (p.host_experts != nullptr) p.result.found.more = p.w.more.data();
  if (shared) p.result.found.shared = p.w.shared.data();
  p.result.post = p.t->post.data();
  p.result.comb = p.t->comb.data();
}

}  // namespace v4i::forward::cuda
