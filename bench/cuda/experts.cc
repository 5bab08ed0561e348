// The experts of a layer: products of grouped tokens, and the gate between them.
#include "kernels/cuda/experts.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "bench/cuda/families.h"

namespace v4i::bench::cuda {
namespace {

// Tokens by expert, as v4i_group leaves them.
struct Groups {
  std::vector<std::int32_t> begin, active, slot_token;

  // Each token's experts are drawn without a pattern.
  Groups(const Shapes& s, int tokens, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::vector<std::int32_t>> of(static_cast<std::size_t>(s.experts));
    std::vector<std::int32_t> all(static_cast<std::size_t>(s.experts));
    std::iota(all.begin(), all.end(), 0);
    for (int t = 0; t < tokens; ++t)
      for (int k = 0; k < s.choices; ++k) {
        const auto i = static_cast<std::size_t>(k);
        std::swap(all[i], all[i + random() % (all.size() - i)]);
        of[static_cast<std::size_t>(all[i])].push_back(t);
      }
    begin.push_back(0);
    for (std::int32_t e = 0; e < s.experts; ++e) {
      const auto& mine = of[static_cast<std::size_t>(e)];
      if (!mine.empty()) active.push_back(e);
      slot_token.insert(slot_token.end(), mine.begin(), mine.end());
      begin.push_back(static_cast<std::int32_t>(slot_token.size()));
    }
  }
};

// A run of a layer's experts.
struct Run {
  kc::ExpertsArgs e;
  kc::GateArgs gate;
  int active = 0;

  Run(Meter& m, int tokens, std::uint64_t seed) {
    const Shapes& s = m.shapes();
    const Groups g(s, tokens, seed);
    active = static_cast<int>(g.active.size());
    e.groups.active = m.copy_of(g.active);
    e.groups.active_count = m.copy_of(std::vector<std::int32_t>{active});
    e.groups.begin = m.copy_of(g.begin);
    e.groups.slot_token = m.copy_of(g.slot_token);
    e.up = m.matrix(WeightFormat::kFp4, s.expert_width, s.width);
    e.down = m.matrix(WeightFormat::kFp4, s.width, s.expert_width);
    std::vector<kc::ExpertPlace> places(static_cast<std::size_t>(s.experts));
    for (const std::int32_t i : g.active)
      for (const int w : {kc::kW1, kc::kW3, kc::kW2}) {
        const kc::Matrix& shape = w == kc::kW2 ? e.down : e.up;
        const kc::Matrix mine = m.matrix(WeightFormat::kFp4, shape.rows, shape.cols);
        places[static_cast<std::size_t>(i)].data[w] = mine.data;
        places[static_cast<std::size_t>(i)].scale[w] = mine.scale;
      }
    e.places = m.copy_of(places);
    e.up.data = e.up.scale = e.down.data = e.down.scale = nullptr;
    e.max_groups = std::min(s.experts, tokens * s.choices);
    e.tokens = tokens;
    e.native = 1;
    gate.count = e.groups.begin + s.experts;
    gate.slots = tokens * s.choices;
    gate.width = s.expert_width;
    gate.limit = 10;
    gate.quantise_block = 128;
    gate.native = 1;
  }
};

void launch(const fc::Stream& s, kc::ExpertProductsArgs a) {
  const kc::ExpertLaunches l = kc::launch_experts(a);
  for (const kc::Launch& one : l.launch) s.launch(one, a);
}

// As many runs as are needed to miss the caches; activations are theirs together.
std::vector<Run> runs(Meter& m, int tokens, const Case& c) {
  const Shapes& s = m.shapes();
  const std::int64_t slots = std::int64_t{tokens} * s.choices;
  const float* x = m.floats(std::int64_t{tokens} * s.width);
  const float* weight = m.floats(slots);
  float* gate = m.room(slots * s.expert_width);
  float* up = m.room(slots * s.expert_width);
  float* found = m.room(slots * s.width);
  std::vector<Run> all;
  for (int v = 0; v < m.variants(c); ++v) {
    Run r(m, tokens, static_cast<std::uint64_t>(v) + 1);
    r.e.x = x;
    r.e.gate = r.gate.gate = gate;
    r.e.up_out = up;
    r.gate.up = up;
    r.gate.weight = weight;
    r.e.found = found;
    all.push_back(r);
  }
  return all;
}

void measure(Meter& m, int tokens) {
  const Shapes& s = m.shapes();
  Case c{"experts", "", tokens};
  try {
    m.begin();
    const kc::Matrix one = m.matrix(WeightFormat::kFp4, s.expert_width, s.width);
    const int active = static_cast<int>(Groups(s, tokens, 1).active.size());
    const double slots = static_cast<double>(tokens) * s.choices;
    c.cold = 3 * matrix_bytes(one) * active;
    const std::vector<Run> all = runs(m, tokens, c);
    const auto of = [&](int v) -> const Run& { return all[static_cast<std::size_t>(v)]; };
    const double products = 2 * slots * s.expert_width * s.width;
    const double x = 4.0 * tokens * s.width, mid = 4 * slots * s.expert_width;
    const bool many = tokens > kc::kFewTokens;  // else activations stay in caches
    const auto with = [&](const char* shape, double matrices, double activations, double flops) {
      Case one_case = c;
      one_case.shape = fmt::format("{}; {} of {} experts; fp4", shape, active, s.experts);
      one_case.bytes = matrices * matrix_bytes(one) * active + (many ? activations : 0);
      one_case.flops = flops;
      return one_case;
    };
    m.measure(with("w1 + w3", 2, x + 2 * mid, 2 * products),
              [&](const fc::Stream& st, int v) { launch(st, kc::experts_up(of(v).e)); });
    m.measure(with("swiglu", 0, 3 * mid, 0), [&](const fc::Stream& st, int v) {
      st.launch(kc::launch_gate(of(v).gate), of(v).gate);
    });
    m.measure(with("w2", 1, mid + 4 * slots * s.width, products),
              [&](const fc::Stream& st, int v) { launch(st, kc::experts_down(of(v).e)); });
    m.measure(with("all three", 3, x + 6 * mid + 4 * slots * s.width, 3 * products),
              [&](const fc::Stream& st, int v) {
                launch(st, kc::experts_up(of(v).e));
                st.launch(kc::launch_gate(of(v).gate), of(v).gate);
                launch(st, kc::experts_down(of(v).e));
              });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

}  // namespace

void measure_experts(Meter& m) {
  for (const int tokens : m.shapes().tokens()) measure(m, tokens);
}

}  // namespace v4i::bench::cuda
