// Routing, what the experts found added up, norms and quantised copies.
#include "kernels/cuda/router.h"

#include "bench/cuda/families.h"
#include "kernels/cuda/norm.h"

namespace v4i::bench::cuda {
namespace {

kc::RouteArgs route_args(Meter& m, int tokens) {
  const Shapes& s = m.shapes();
  const std::int64_t slots = std::int64_t{tokens} * s.choices;
  kc::RouteArgs a;
  a.scores = m.floats(std::int64_t{tokens} * s.experts);
  a.bias[0] = a.bias[1] = m.floats(s.experts);
  a.tokens = m.copy_of(std::vector<kc::Token>(static_cast<std::size_t>(tokens)));
  a.expert = m.room<std::int32_t>(slots);
  a.weight = m.room(slots);
  a.groups.begin = m.room<std::int32_t>(s.experts + 1);
  a.groups.active = m.room<std::int32_t>(s.experts);
  a.groups.active_count = m.room<std::int32_t>(1);
  a.groups.slot_token = m.room<std::int32_t>(slots);
  a.groups.slot_weight = m.room(slots);
  a.groups.token_slot = m.room<std::int32_t>(slots);
  a.n = tokens, a.experts = s.experts, a.choices = s.choices;
  a.scale = 1.5f;
  return a;
}

void measure_route(Meter& m, int tokens) {
  const Shapes& s = m.shapes();
  m.begin();
  const kc::RouteArgs a = route_args(m, tokens);
  m.measure({"route", fmt::format("{} of {} experts, grouped", s.choices, s.experts), tokens,
             4.0 * tokens * s.experts, 0, 0},
            [&](const fc::Stream& st, int) {
              st.launch(kc::launch_route(a), a);
              st.launch(kc::launch_group(a), a);
            });
  kc::CombineArgs c;
  const std::int64_t slots = std::int64_t{tokens} * s.choices;
  c.found.found = m.floats(slots * s.width);
  c.found.token_slot = a.groups.token_slot;
  c.found.shared = m.floats(std::int64_t{tokens} * s.width);
  c.found.choices = s.choices;
  c.out = m.room(std::int64_t{tokens} * s.width);
  c.n = tokens, c.width = s.width, c.native = 1;
  m.measure({"combine", fmt::format("{} and the shared one", s.choices), tokens,
             4.0 * tokens * s.width * (s.choices + 2), 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_combine(c), c); });
}

void measure_norm(Meter& m, int tokens, int cols) {
  m.begin();
  const std::int64_t count = std::int64_t{tokens} * cols;
  const auto bytes = 4.0 * static_cast<double>(count);
  kc::NormArgs a;
  a.x = m.floats(count);
  a.y = m.room(count);
  a.yq = m.room(count);
  a.x_stride = a.y_stride = cols;
  a.gain = m.floats(cols);
  a.n = tokens, a.cols = cols, a.quantise_block = 128, a.eps = 1e-6f, a.native = 1;
  m.measure(
      {"norm", fmt::format("{} channels, with a quantised copy", cols), tokens, 3 * bytes, 0, 0},
      [&](const fc::Stream& st, int) { st.launch(kc::launch_norm(a), a); });
  const kc::QuantiseRowsArgs q{a.x, a.yq, tokens, cols, 128};
  m.measure({"quantise", fmt::format("{} channels", cols), tokens, 2 * bytes, 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_quantise(q), q); });
}

}  // namespace

void measure_router(Meter& m) {
  const Shapes& s = m.shapes();
  for (const int tokens : s.tokens()) {
    try {
      measure_route(m, tokens);
      measure_norm(m, tokens, s.q_lora);
      measure_norm(m, tokens, s.o_groups * s.o_lora);
    } catch (const std::exception& e) {
      m.failed({"route", "", tokens}, e);
    }
  }
}

}  // namespace v4i::bench::cuda
