// Routing, grouping and adding up: against router.cc of the CPU and groups made plainly.
#include "kernels/cuda/router.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/ops.h"
#include "tests/cuda/emulate/run.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using emulate::Buffer;

struct Shape {
  int n, experts, choices;
  bool by_id = false, elsewhere = false;
  int levels = 0;  // scores take so many values only; 0: any
};

// A router and its tokens.
struct Router {
  Shape s;
  Buffer<float> scores, bias[2];
  Buffer<std::int32_t> by_id;
  Buffer<Token> tokens;
  Buffer<std::uint8_t> elsewhere;
};

constexpr int kVocab = 50;

float of_levels(float x, int levels) {
  return levels == 0 ? x : std::round(x * float(levels) / 4) * 4 / float(levels);
}

Router random_router(const Shape& s, unsigned seed) {
  std::mt19937 g(seed);
  const auto normal = [&](int n) {
    Buffer<float> x(test::normal(std::size_t(n), unsigned(g())));
    for (float& v : x) v = of_levels(v, s.levels);
    return x;
  };
  Router r{s, normal(s.n * s.experts), {normal(s.experts), normal(s.experts)}, {}, {}, {}};
  r.scores[0] = 25;  // softplus is the identity there
  if (s.experts > 1) r.scores[1] = -90;
  r.by_id = Buffer<std::int32_t>(std::size_t(kVocab * s.choices));
  for (auto& e : r.by_id) e = std::int32_t(g() % unsigned(s.experts));  // the same twice at times
  r.tokens = Buffer<Token>(std::size_t(s.n));
  for (Token& t : r.tokens) {
    t = {};
    t.id = std::int32_t(g() % kVocab);
    t.role = std::int32_t(g() % 5 == 0);
  }
  r.elsewhere = Buffer<std::uint8_t>(std::size_t(s.experts));
  for (auto& e : r.elsewhere) e = g() % 3 == 0;
  return r;
}

// What the kernels leave.
struct Routed {
  Buffer<std::int32_t> expert, begin, active, active_count, slot_token, token_slot;
  Buffer<float> weight, slot_weight;

  explicit Routed(const Shape& s)
      : expert(std::size_t(s.n * s.choices)),
        begin(std::size_t(s.experts + 1)),
        active(std::size_t(s.experts)),
        active_count(1),
        slot_token(expert.size()),
        token_slot(expert.size()),
        weight(expert.size()),
        slot_weight(expert.size()) {}
};

RouteArgs args_of(const Router& r, Routed& out) {
  RouteArgs a;
  a.scores = r.scores.data();
  a.bias[0] = r.bias[0].data(), a.bias[1] = r.bias[1].data();
  a.by_id = r.s.by_id ? r.by_id.data() : nullptr;
  a.tokens = r.tokens.data();
  a.expert = out.expert.data(), a.weight = out.weight.data();
  a.groups = {r.s.elsewhere ? r.elsewhere.data() : nullptr,
              out.begin.data(),
              out.active.data(),
              out.active_count.data(),
              out.slot_token.data(),
              out.slot_weight.data(),
              out.token_slot.data()};
  a.n = r.s.n, a.experts = r.s.experts, a.choices = r.s.choices, a.scale = 1.5f;
  return a;
}

void run(const RouteArgs& a, std::uint64_t schedule) {
  emulate::run(launch_route(a), a, schedule);
  emulate::run(launch_group(a), a, schedule);
}

void check_route(const Router& r, const Routed& out) {
  const auto e_count = std::size_t(r.s.experts), k_count = std::size_t(r.s.choices);
  for (std::size_t t = 0; t < std::size_t(r.s.n); ++t) {
    std::vector<float> score(e_count);
    for (std::size_t e = 0; e < e_count; ++e)
      score[e] = kernels::sqrt_softplus(r.scores[t * e_count + e]);
    std::vector<std::int32_t> order(e_count);
    for (std::size_t e = 0; e < e_count; ++e) order[e] = std::int32_t(e);
    const Buffer<float>& bias = r.bias[r.tokens[t].role];
    const auto key = [&](std::int32_t e) { return score[std::size_t(e)] + bias[std::size_t(e)]; };
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) > key(b); });
    if (r.s.by_id)
      order.assign(r.by_id.begin() + r.tokens[t].id * r.s.choices,
                   r.by_id.begin() + (r.tokens[t].id + 1) * r.s.choices);
    float total = 0;
    for (std::size_t k = 0; k < k_count; ++k) total += score[std::size_t(order[k])];
    for (std::size_t k = 0; k < k_count; ++k) {
      CHECK(out.expert[t * k_count + k] == order[k]);
      const float want = score[std::size_t(order[k])] / total * 1.5f;
      CHECK(std::fabs(out.weight[t * k_count + k] - want) <= 1e-6f * want);
    }
  }
}

// From what was chosen.
void check_groups(const Router& r, const Routed& out) {
  const auto k_count = std::size_t(r.s.choices);
  std::vector<std::int32_t> begin{0}, active, slot_token, token_slot(out.expert.size(), -1);
  std::vector<float> slot_weight;
  std::vector<std::size_t> filled(std::size_t(r.s.n));  // places of token_slot
  for (int e = 0; e < r.s.experts; ++e) {
    const bool elsewhere = r.s.elsewhere && r.elsewhere[std::size_t(e)] != 0;
    for (std::size_t i = 0; i < out.expert.size(); ++i) {
      if (out.expert[i] != e) continue;
      const std::size_t t = i / k_count, place = t * k_count + filled[t]++;
      if (elsewhere) continue;
      token_slot[place] = std::int32_t(slot_token.size());
      slot_token.push_back(std::int32_t(t));
      slot_weight.push_back(out.weight[i]);
    }
    if (std::int32_t(slot_token.size()) > begin.back()) active.push_back(e);
    begin.push_back(std::int32_t(slot_token.size()));
  }
  CHECK(out.begin.vector() == begin);
  CHECK(out.active_count[0] == std::int32_t(active.size()));
  CHECK(std::equal(active.begin(), active.end(), out.active.begin()));
  CHECK(std::equal(slot_token.begin(), slot_token.end(), out.slot_token.begin()));
  for (std::size_t i = 0; i < slot_weight.size(); ++i)  // weights may be no numbers
    CHECK(kernels::to_bits(slot_weight[i]) == kernels::to_bits(out.slot_weight[i]));
  CHECK(out.token_slot.vector() == token_slot);
}

void try_shape(const Shape& s) {
  const unsigned seed = std::random_device()();
  INFO(s.n << " tokens, " << s.choices << " of " << s.experts << " experts, by id " << s.by_id
           << ", elsewhere " << s.elsewhere << ", levels " << s.levels << ", inputs of seed "
           << seed);
  const Router r = random_router(s, seed);
  for (const std::uint64_t schedule : emulate::schedules()) {
    Routed out(s);
    run(args_of(r, out), schedule);
    check_route(r, out);
    check_groups(r, out);
  }
}

TEST_CASE("Router: few tokens, in one launch") {
  for (const bool elsewhere : {false, true}) {
    try_shape({1, 256, 6, false, elsewhere});
    try_shape({8, 256, 6, false, elsewhere, 16});
    try_shape({5, 384, 6, true, elsewhere});
    try_shape({4, 3, 1, false, elsewhere});
    try_shape({3, 3, 3, false, elsewhere, 2});
    try_shape({6, 24, 16, false, elsewhere, 8});
    try_shape({2, 33, 7, true, elsewhere});
    try_shape({1, 1, 1, false, elsewhere});
  }
}

TEST_CASE("Router: more tokens") {
  for (const bool elsewhere : {false, true}) {
    try_shape({65, 256, 6, false, elsewhere, 32});
    try_shape({40, 3, 2, false, elsewhere});
    try_shape({70, 40, 16, true, elsewhere});
    try_shape({9, 130, 40, false, elsewhere, 64});
    try_shape({2, 4096, 6, false, elsewhere});
    try_shape({17, 1500, 12, true, elsewhere});
  }
  try_shape({1300, 5, 5, true, true});
}

TEST_CASE("Router: a prompt of V4") {
  try_shape({512, 256, 6, true});
  try_shape({96, 384, 6, false, true});
}

TEST_CASE("Router: a token's experts do not depend on the other tokens of the launch") {
  const Router r = random_router({60, 256, 6}, 7);
  Routed all(r.s);
  run(args_of(r, all), 1);
  for (const int t : {0, 33, 59}) {
    Shape s = r.s;
    s.n = 1;
    Routed one(s);
    RouteArgs a = args_of(r, one);
    a.n = 1, a.scores += t * 256, a.tokens += t;
    run(a, 2);
    CHECK(std::equal(one.expert.begin(), one.expert.end(), all.expert.begin() + t * 6));
    CHECK(std::memcmp(one.weight.data(), all.weight.data() + t * 6, one.weight.bytes()) == 0);
  }
}

TEST_CASE("Router: scores that are no numbers still give each token its number of experts") {
  Router r = random_router({3, 70, 6}, 3);
  for (float& v : r.scores) v = NAN;
  Routed out(r.s);
  run(args_of(r, out), 1);
  check_groups(r, out);
  for (std::size_t i = 0; i < 18; i += 6) {
    const std::vector<std::int32_t> e(out.expert.begin() + i, out.expert.begin() + i + 6);
    CHECK(e == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5});
  }
}

void try_combine(int n, int width, int choices, bool native, bool more, bool shared) {
  const unsigned seed = std::random_device()();
  INFO(n << " tokens of " << width << ", " << choices << " choices, inputs of seed " << seed);
  const auto rows = [&](int count, unsigned s) {
    const auto size = std::size_t(count) * std::size_t(width);
    return Buffer<float>(native ? test::normal_bf16(size, s) : test::normal(size, s));
  };
  const int slots = std::min(n * choices, 1000);
  const Buffer<float> found = rows(slots, seed), a = rows(n, seed + 1), b = rows(n, seed + 2);
  Buffer<std::int32_t> token_slot(std::size_t(n * choices));
  std::mt19937 g(seed);
  for (auto& s : token_slot) s = g() % 5 == 0 ? -1 : std::int32_t(g() % unsigned(slots));
  Buffer<float> out(std::size_t(n) * std::size_t(width));
  const CombineArgs args{{found.data(), token_slot.data(), more ? a.data() : nullptr,
                          shared ? b.data() : nullptr, choices},
                         out.data(),
                         n,
                         width,
                         native};
  emulate::run(launch_combine(args), args, seed);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t t = i / std::size_t(width), c = i % std::size_t(width);
    float sum = 0;
    for (int k = 0; k < choices; ++k) {
      const std::int32_t slot = token_slot[t * std::size_t(choices) + std::size_t(k)];
      if (slot >= 0) sum += found[std::size_t(slot) * std::size_t(width) + c];
    }
    if (more) sum += a[i];
    if (shared) sum += b[i];
    const float want = native ? kernels::round_bf16(sum) : sum;
    if (out[i] != want) CHECK(out[i] == want);
  }
}

TEST_CASE("Combine: any width and number of choices") {
  for (const bool native : {false, true}) {
    try_combine(1, 4096, 6, native, false, true);
    try_combine(3, 24, 1, native, true, false);
    try_combine(5, 7, 16, native, true, true);
    try_combine(4, 518, 9, native, false, false);
  }
  try_combine(65536, 4, 2, true, true, true);
}

}  // namespace
}  // namespace v4i
