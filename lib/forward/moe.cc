// Router and experts.  Spec 2.8 and 2.9.
//
// Tokens are grouped by expert, so an expert's weights are read once for all of its
// tokens.  A token's experts are added in rising order of their number, the shared
// expert last: its result does not depend on the company.
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

// Rows in one piece of work.  Few pieces pack their tokens less often, many keep all threads busy:
// at least eight pieces a thread where the rows allow it.
std::int64_t piece_rows(std::int64_t rows, std::int64_t least, std::int64_t most,
                        std::int64_t groups, int threads) {
  const std::int64_t wanted = std::max<std::int64_t>(1, (8 * threads + groups - 1) / groups);
  const std::int64_t even = (rows / wanted + least - 1) / least * least;
  return std::clamp(even, least, std::max(least, most / least * least));
}

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
    const std::int64_t id = p.tokens[static_cast<std::size_t>(t)].id;
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

// Some tokens through an expert: slots [begin, end) of gate/up, rows of x.
struct Group {
  const model::Expert* expert;
  std::int64_t begin, end;
  const std::int32_t* token;  // of each slot; null: slot i is token i
  const float* weight;        // of each slot; null: 1
  const void* prepared_x = nullptr;
  const void* prepared_gate = nullptr;

  std::int64_t size() const { return end - begin; }
};

kernels::LinearArgs up_args(const Pass& p, const Group& g, const float* x) {
  const model::Config& c = p.config;
  kernels::LinearArgs a{weight_of(g.expert->w1),
                        0,
                        c.expert_width,
                        x,
                        c.width,
                        g.token,
                        nullptr,
                        0,
                        g.size(),
                        p.native,
                        nullptr,
                        0,
                        p.native};
  a.prepared = g.prepared_x;
  return a;
}

kernels::LinearArgs down_args(const Pass& p, const Group& g) {
  const model::Config& c = p.config;
  kernels::LinearArgs a{weight_of(g.expert->w2),
                        0,
                        c.width,
                        p.w.wide.data() + g.begin * c.expert_width,
                        c.expert_width,
                        nullptr,
                        nullptr,
                        0,
                        g.size(),
                        p.native,
                        nullptr,
                        0,
                        p.native};
  a.prepared = g.prepared_gate;
  return a;
}

// gate <- quantised(silu(w1 x) * (w3 x) * weight), rows [r0, r1).
void up_rows(Pass& p, const Group& g, const float* x, std::int64_t r0, std::int64_t r1,
             ThreadScratch& scratch) {
  const model::Config& c = p.config;
  const std::int64_t width = c.expert_width, n = g.size(), rows = r1 - r0;
  float* gate = p.w.wide.data() + g.begin * width;
  kernels::LinearArgs args = up_args(p, g, x);
  args.row_begin = r0;
  args.row_end = r1;
  args.scratch = scratch.linear.data();
  args.y = gate;
  args.y_stride = width;
  multiply(p, g.expert->w1, args);
  args.y = scratch.part.data();
  args.y_stride = rows;
  args.y_begin = r0;
  multiply(p, g.expert->w3, args);
  for (std::int64_t i = 0; i < n; ++i) {
    float* a = gate + i * width + r0;
    p.kernels.swiglu({a, scratch.part.data() + i * rows, rows, c.swiglu_limit,
                      g.weight != nullptr ? g.weight[i] : 1.0f, p.native});
    if (p.fp8_inputs()) p.kernels.quantise({a, a, rows, c.fp8_block});
  }
}

// out[token, r0..r1) += w2 gate.
void down_rows(Pass& p, const Group& g, std::int64_t r0, std::int64_t r1, ThreadScratch& scratch) {
  const std::int64_t n = g.size(), rows = r1 - r0;
  kernels::LinearArgs args = down_args(p, g);
  args.row_begin = args.y_begin = r0;
  args.row_end = r1;
  args.scratch = scratch.linear.data();
  args.y = scratch.part.data();
  args.y_stride = rows;
  multiply(p, g.expert->w2, args);
  for (std::int64_t i = 0; i < n; ++i) {
    float* out = p.w.out.data() + (g.token != nullptr ? g.token[i] : i) * p.config.width;
    for (std::int64_t r = 0; r < rows; ++r) out[r0 + r] += scratch.part[std::size_t(i * rows + r)];
  }
}

Group routed_group(const Pass& p, const model::Moe& m, std::int64_t i) {
  const Workspace& w = p.w;
  const auto e = std::size_t(w.active[std::size_t(i)]);
  const std::int64_t begin = w.expert_begin[e], end = w.expert_begin[e + 1];
  return {&m.experts[e], begin, end, w.slot_token.data() + begin, w.slot_weight.data() + begin};
}

std::byte* gate_room(const Pass& p, const Group& g) {
  return p.w.prepared.data() + kernels::linear_prepared_bytes(p.config.expert_width, g.begin);
}

// The gates of `count` groups for w2, side by side in w.prepared; false: there is no such form.
template <class GroupOf>
bool prepare_gates(Pass& p, std::int64_t count, GroupOf group_of) {
  const auto make = p.preparing(down_args(p, group_of(0)), p.n());
  if (make == nullptr) return false;
  // Groups of few tokens are a part each.
  const int parts = count >= 4 * p.pool.size() ? 1 : 4 * p.pool.size();
  p.pool.share(count * parts, [&](std::int64_t u, int) {
    const Group g = group_of(u / parts);
    make(down_args(p, g), static_cast<int>(u % parts), parts, gate_room(p, g));
  });
  return true;
}

// `count` groups through gate and up, then added to out in order.
template <class GroupOf>
void run_groups(Pass& p, std::int64_t count, const float* x, GroupOf group_of) {
  const model::Config& c = p.config;
  const std::int64_t most = p.w.piece_rows;
  const std::int64_t up_block =
      piece_rows(c.expert_width, gate_rows(c), most, count, p.pool.size());
  const std::int64_t ups = (c.expert_width + up_block - 1) / up_block;
  // Experts have unequal numbers of tokens.
  p.pool.share(count * ups, [&](std::int64_t u, int thread) {
    const std::int64_t r = u % ups * up_block;
    up_rows(p, group_of(u / ups), x, r, std::min(r + up_block, c.expert_width),
            p.w.threads[std::size_t(thread)]);
  });
  const bool prepared = prepare_gates(p, count, group_of);
  const std::int64_t rows = piece_rows(c.width, 64, most, 1, p.pool.size());
  p.pool.share((c.width + rows - 1) / rows, [&](std::int64_t u, int thread) {
    for (std::int64_t i = 0; i < count; ++i) {
      Group g = group_of(i);
      if (prepared) g.prepared_gate = gate_room(p, g);
      down_rows(p, g, u * rows, std::min((u + 1) * rows, c.width),
                p.w.threads[std::size_t(thread)]);
    }
  });
  for (std::int64_t i = 0; i < count; ++i) {
    const model::Expert& e = *group_of(i).expert;
    for (const model::Linear* w : {&e.w1, &e.w2, &e.w3}) p.model.set_passed(*w);
  }
}

}  // namespace

void moe(Pass& p, const model::Moe& m, const model::LayerPlan& plan) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  linear(p, m.gate, w.x.data(), c.width, p.n(), w.router.data(), c.experts, false);
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) route_token(p, m, plan, t);
  });
  const std::int64_t active = group_by_expert(p);
  p.mark(model::Part::kRouter);
  if (p.profile != nullptr) p.profile->add_experts(active);
  const float* x = quantised(p, w.x.data(), p.n(), c.width, w.xq.data());
  std::fill_n(w.out.data(), p.n() * c.width, 0.0f);
  run_groups(p, active, x, [&](std::int64_t i) { return routed_group(p, m, i); });
  p.mark(model::Part::kRouted);
  if (c.shared_experts > 0) {
    Group all{&m.shared, 0, p.n(), nullptr, nullptr};
    kernels::LinearArgs args = up_args(p, all, x);
    prepare(p, args);
    all.prepared_x = args.prepared;
    run_groups(p, 1, x, [&](std::int64_t) { return all; });
  }
  p.round(w.out.data(), p.n() * c.width);
  p.mark(model::Part::kShared);
}

}  // namespace v4i::forward
