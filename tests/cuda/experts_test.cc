// kernels: experts linear
// Products of grouped tokens on the device against the definition and against plain products.
#include "kernels/cuda/experts.h"

#include <cmath>
#include <random>

#include "kernels/cuda/linear.h"
#include "kernels/ops.h"
#include "tests/cuda/matrices.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using kernels::Format;
using test::DeviceMatrix;
using test::RandomWeight;

unsigned fresh() { return std::random_device()(); }

struct Layer {
  Format format;
  std::int64_t width, expert_width;
  int block;  // of fp8
  bool native;
};

// An expert on the host and on the device: w1, w3, w2.
struct Expert {
  std::vector<RandomWeight> weight;
  std::vector<DeviceMatrix> matrix;

  Expert(const Layer& l, unsigned seed) {
    for (unsigned i = 0; i < 3; ++i) {
      const bool down = i == kW2;
      weight.emplace_back(l.format, down ? l.width : l.expert_width,
                          down ? l.expert_width : l.width, l.block, seed + i);
    }
    for (const RandomWeight& w : weight) matrix.emplace_back(w);
  }
  ExpertPlace place() const {
    ExpertPlace p;
    for (std::size_t i = 0; i < 3; ++i) {
      p.data[i] = matrix[i].data.data();
      p.scale[i] = matrix[i].m.scale;
    }
    return p;
  }
};

// Experts, tokens, and which go where: sizes[e] of the tokens go to expert e.
struct Case {
  Layer layer;
  std::int64_t tokens;
  std::vector<int> sizes;
  std::vector<Expert> experts;
  std::vector<float> host_x;
  emulate::Buffer<float> x, gate, up, found;
  emulate::Buffer<ExpertPlace> places;
  emulate::Buffer<std::int32_t> active, active_count, begin, slot_token;

  Case(const Layer& l, std::int64_t n, std::vector<int> group_sizes, unsigned seed)
      : layer(l), tokens(n), sizes(std::move(group_sizes)) {
    std::mt19937 g(seed);
    std::vector<std::int32_t> chosen, first{0}, token;
    std::vector<ExpertPlace> place;
    for (std::size_t e = 0; e < sizes.size(); ++e) {
      experts.emplace_back(l, seed + unsigned(10 * e));
      place.push_back(experts.back().place());
      if (sizes[e] > 0) chosen.push_back(std::int32_t(e));
      std::vector<std::int32_t> all(static_cast<std::size_t>(n));
      for (std::size_t t = 0; t < all.size(); ++t) all[t] = std::int32_t(t);
      std::shuffle(all.begin(), all.end(), g);
      std::sort(all.begin(), all.begin() + sizes[e]);
      token.insert(token.end(), all.begin(), all.begin() + sizes[e]);
      first.push_back(std::int32_t(token.size()));
    }
    host_x = l.native ? test::normal_bf16(std::size_t(n * l.width), seed)
                      : test::normal(std::size_t(n * l.width), seed);
    x = emulate::Buffer<float>(host_x);
    places = emulate::Buffer<ExpertPlace>(place);
    active_count = emulate::Buffer<std::int32_t>(1, std::int32_t(chosen.size()));
    chosen.resize(sizes.size(), -1);
    active = emulate::Buffer<std::int32_t>(chosen);
    begin = emulate::Buffer<std::int32_t>(first);
    slot_token = emulate::Buffer<std::int32_t>(token);
    gate = emulate::Buffer<float>(token.size() * std::size_t(l.expert_width));
    up = emulate::Buffer<float>(gate.size());
    found = emulate::Buffer<float>(token.size() * std::size_t(l.width));
  }

  std::int64_t slots() const { return std::int64_t(slot_token.size()); }

  ExpertsArgs args() {
    ExpertsArgs a;
    a.up = experts[0].matrix[kW1].m;
    a.down = experts[0].matrix[kW2].m;
    a.up.data = a.up.scale = a.down.data = a.down.scale = nullptr;
    a.places = places.data();
    a.groups = {active.data(), active_count.data(), begin.data(), slot_token.data()};
    a.max_groups = std::int32_t(sizes.size());
    a.tokens = std::int32_t(tokens);
    a.x = x.data();
    a.gate = gate.data();
    a.up_out = up.data();
    a.found = found.data();
    a.native = layer.native;
    return a;
  }

  // The results of both launches, the same under every schedule.
  void run(ExpertProductsArgs a) {
    const ExpertLaunches l = launch_experts(a);
    std::vector<float> first[2];
    for (std::uint64_t seed : emulate::schedules()) {
      for (int i = 0; i < a.matrices && slots() > 0; ++i)
        std::memset(static_cast<void*>(a.y[i]), 0xab, 4 * std::size_t(slots() * a.w.rows));
      for (const Launch& one : l.launch) {
        REQUIRE(one.shared <= 99 * 1024);
        emulate::run(one, a, seed);
      }
      for (int i = 0; i < a.matrices && slots() > 0; ++i) {
        const std::vector<float> y(a.y[i], a.y[i] + slots() * a.w.rows);
        if (first[i].empty()) first[i] = y;
        REQUIRE(test::same_bits(first[i], y));
      }
    }
  }

  // Slots of expert e: the rows of `from` they read, one after the other.
  std::vector<float> inputs(std::size_t e, const emulate::Buffer<float>& from, std::int64_t cols,
                            bool by_token) const {
    std::vector<float> rows;
    for (std::int32_t s = begin[e]; s < begin[e + 1]; ++s) {
      const float* row = from.data() + (by_token ? slot_token[std::size_t(s)] : s) * cols;
      rows.insert(rows.end(), row, row + cols);
    }
    return rows;
  }

  // Every slot of y against the definition of the product with matrix `which`.
  void check(int which, const emulate::Buffer<float>& from, const emulate::Buffer<float>& y) const {
    for (std::size_t e = 0; e < sizes.size(); ++e) {
      const RandomWeight& r = experts[e].weight[std::size_t(which)];
      const std::vector<float> in = inputs(e, from, r.w.cols, which != kW2);
      const auto defined = test::defined_product(r.w, in.data(), r.w.cols, sizes[e]);
      const auto error = test::product_errors(r, in, r.w.cols, sizes[e]);
      const float* computed = y.data() + begin[e] * r.w.rows;
      std::int64_t wrong = 0;
      for (std::size_t i = 0; i < defined.size(); ++i) {
        const float most = error[i] + (layer.native ? std::fabs(defined[i]) * 0x1p-8f : 0.0f);
        wrong += !(std::fabs(computed[i] - defined[i]) <= most);
      }
      INFO("expert " << e << " of " << sizes[e] << " tokens, matrix " << which);
      CHECK(wrong == 0);
    }
  }

  // Every slot of y has the bits of a plain product with `launch`.
  void compare(int which, const emulate::Buffer<float>& from, const emulate::Buffer<float>& y,
               Launch (*launch)(ProductsArgs&), int most) const {
    for (std::size_t e = 0; e < sizes.size(); ++e) {
      if (sizes[e] == 0 || sizes[e] > most) continue;
      const Matrix& m = experts[e].matrix[std::size_t(which)].m;
      const emulate::Buffer<float> in(inputs(e, from, m.cols, which != kW2));
      emulate::Buffer<float> out(std::size_t(sizes[e] * m.rows));
      ProductsArgs a;
      a.products = 1;
      a.tokens = sizes[e];
      a.native = layer.native;
      a.product[0].w = m;
      a.product[0].x = in.data();
      a.product[0].x_stride = m.cols;
      a.product[0].y = out.data();
      a.product[0].y_stride = m.rows;
      a.product[0].round = layer.native;
      const Launch l = launch(a);
      emulate::run(l, a, 0);
      INFO("expert " << e << " of " << sizes[e] << " tokens, matrix " << which);
      CHECK(std::memcmp(out.data(), y.data() + begin[e] * m.rows, out.bytes()) == 0);
    }
  }
};

const std::vector<Layer> kLayers = {{Format::kFp4, 544, 64, 0, true},
                                    {Format::kFp8, 200, 50, 32, true},
                                    {Format::kBF16, 72, 40, 0, true},
                                    {Format::kFp4, 544, 64, 0, false},
                                    {Format::kF32, 70, 20, 0, true}};

TEST_CASE("experts' products are those of the definition, and of plain products to the bit") {
  const unsigned seed = fresh();
  for (const Layer& l : kLayers) {
    for (std::int64_t tokens : {1, 7, 16, 80}) {
      const int n = int(tokens), few = std::min(n, 3);
      Case c(l, tokens, {few, 0, n, 1, std::min(n, 17), 0, std::min(n, 16)}, seed);
      INFO("format " << int(l.format) << ", native " << l.native << ", " << tokens
                     << " tokens, seed " << seed);
      c.run(experts_up(c.args()));
      c.check(kW1, c.x, c.gate);
      c.check(kW3, c.x, c.up);
      c.compare(kW1, c.x, c.gate, launch_products, 1000);
      if (!needs_float(c.args().up, l.native)) {
        c.compare(kW3, c.x, c.up, launch_products_few, 16);
        c.compare(kW3, c.x, c.up, launch_products_many, 1000);
      }
      for (float& v : c.gate) v = l.native ? kernels::round_bf16(v * 0x1p-6f) : v;
      c.run(experts_down(c.args()));
      c.check(kW2, c.gate, c.found);
      c.compare(kW2, c.gate, c.found, launch_products, 1000);
    }
  }
}

TEST_CASE("an expert that is not on the device leaves its slots alone") {
  const unsigned seed = fresh();
  for (std::int64_t tokens : {4, 30}) {
    Case c(kLayers[0], tokens, {2, int(tokens)}, seed),
        without(kLayers[0], tokens, {2, int(tokens)}, seed);
    c.run(experts_up(c.args()));
    without.places[0] = {};
    without.run(experts_up(without.args()));
    const std::size_t first = 2 * 64;
    const emulate::Buffer<float> poison(first);
    CHECK(std::memcmp(without.gate.data(), poison.data(), poison.bytes()) == 0);
    CHECK(std::memcmp(without.gate.data() + first, c.gate.data() + first,
                      c.gate.bytes() - poison.bytes()) == 0);
  }
}

TEST_CASE("a run without groups computes nothing") {
  Case c(kLayers[0], 3, {0, 0}, 1);
  c.run(experts_up(c.args()));
  c.run(experts_down(c.args()));
}

TEST_CASE("rows of V4-Flash's experts are those of the definition") {
  const unsigned seed = fresh();
  const Layer l{Format::kFp4, 4096, 48, 0, true};
  for (std::int64_t tokens : {1, 24}) {
    Case c(l, tokens, {1, int(tokens)}, seed);
    INFO(tokens << " tokens, seed " << seed);
    c.run(experts_up(c.args()));
    c.check(kW1, c.x, c.gate);
    c.check(kW3, c.x, c.up);
  }
}

TEST_CASE("the gate is the definition's swiglu, rounded and quantised") {
  const unsigned seed = fresh();
  INFO("seed " << seed);
  for (int width : {1, 100, 128, 700}) {
    for (int block : {0, 32, 128}) {
      for (bool native : {true, false}) {
        constexpr int kSlots = 5, kCount = 4;
        const auto all = std::size_t(kSlots * width);
        std::vector<float> gate = test::normal(all, seed), up = test::normal(all, seed + 1);
        for (float& v : gate) v *= 6;
        const std::vector<float> weight = test::normal(kSlots, seed + 2);
        const emulate::Buffer<float> device_up(up), device_weight(weight);
        const emulate::Buffer<std::int32_t> count(1, kCount);
        for (std::uint64_t schedule : emulate::schedules()) {
          emulate::Buffer<float> y(gate);
          GateArgs a;
          a.gate = y.data();
          a.up = device_up.data();
          a.weight = native ? device_weight.data() : nullptr;
          a.count = count.data();
          a.slots = kSlots;
          a.width = width;
          a.limit = native ? 3.0f : 0.0f;
          a.quantise_block = block;
          a.native = native;
          emulate::run(launch_gate(a), a, schedule);
          std::vector<float> defined = gate;
          for (int s = 0; s < kCount; ++s) {
            float* row = defined.data() + s * width;
            kernels::scalar::swiglu({row, up.data() + s * width, width, a.limit,
                                     native ? weight[std::size_t(s)] : 1.0f, native});
            if (block > 0) kernels::scalar::quantise({row, row, width, block});
          }
#ifdef V4I_ON_DEVICE  // whose expf may differ from the host's in its last bit
          for (std::size_t i = 0; i < all; ++i)
            CHECK(std::fabs(y[i] - defined[i]) <= std::fabs(defined[i]) * (native ? 0.13f : 1e-6f));
#else
          CHECK(test::same_bits(y.vector(), defined));
#endif
        }
      }
    }
  }
}

}  // namespace
}  // namespace v4i
