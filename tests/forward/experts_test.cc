// Experts in waves, and without a Pass.
#include "lib/experts/experts.h"

#include <algorithm>
#include <cstring>

#include "lib/forward/cpu/experts.h"
#include "lib/forward/layouts.h"
#include "tests/forward/rig.h"
#include "tests/support/catch.h"

using namespace v4i;
using forward::Numerics;

namespace {

// Hands out `wave` experts at a time, from copies that are gone when the lease is.
class Waves final : public experts::Experts {
 public:
  Waves(std::shared_ptr<const model::Model> model, std::size_t wave)
      : model_(std::move(model)), wave_(wave) {}
  int leases = 0, waits = 0;

 protected:
  std::size_t wait(int, std::span<const std::int32_t> ids, std::size_t first) override {
    ++waits;
    there_ = std::min(ids.size(), first + wave_);
    REQUIRE(std::is_sorted(ids.begin(), ids.end()));
    return there_;
  }
  const model::Expert& view(int layer, std::int32_t id) const override {
    return model_->block(layer).ffn.experts[static_cast<std::size_t>(id)];
  }
  void release(int, std::span<const std::int32_t>) noexcept override { ++leases; }

 private:
  std::shared_ptr<const model::Model> model_;
  std::size_t wave_, there_ = 0;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("logits do not depend on the waves in which experts arrive", "[forward][bits]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(60);
  for (const Numerics numerics : test::modes()) {
    test::Rig rig(golden.model(), numerics, 2);
    const auto want = rig.logits(ids, 60);
    for (const std::size_t wave : {1u, 2u, 3u, 100u}) {
      const auto waves = std::make_shared<Waves>(rig.model, wave);
      rig.forward = std::make_unique<forward::Forward>(rig.model, *rig.backend,
                                                       forward::Options{numerics, 300},
                                                       forward::Lookups{waves, nullptr});
      CAPTURE(static_cast<int>(numerics), wave);
      CHECK(same_bits(rig.logits(ids, 60), want));
      CHECK(same_bits(rig.logits(ids, 7), want));
      CHECK(waves->leases == 4 + 4 * 9);
      if (wave == 1) CHECK(waves->waits > 2 * waves->leases);
      if (wave == 100) CHECK(waves->waits == waves->leases);
    }
  }
}

TEST_CASE("experts run without a pass, each as if it were alone", "[forward]") {
  const test::Golden golden(1);
  test::Rig rig(golden.model(), Numerics::kNative, 2);
  const model::Config& c = rig.model->config();
  const std::int64_t n = 5, slots = 6;
  forward::cpu::Workspace w(c, rig.forward->layout(), 16, rig.pool.size(), rig.budget);
  const forward::cpu::Cpu cpu{
      *rig.model,       c, *kernels::select_kernels(nullptr), rig.pool, true, false, w.threads,
      w.prepared.data()};
  const auto mapped = experts::mapped_experts(rig.model);
  std::vector<float> x(static_cast<std::size_t>(n * c.width));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) / 16 - 1;
  // Expert 2 has tokens 0, 3 and 4; expert 5 has 0, 1 and 3; token 2 has none.
  const std::int32_t active[] = {2, 5}, begin[] = {0, 0, 0, 3, 3, 3, 6, 6, 6};
  const std::int32_t token[] = {0, 3, 4, 0, 1, 3};
  const float weight[] = {0.5f, 1, 0.25f, 2, 1, 0.75f};
  const auto run = [&](std::span<const std::int32_t> some, bool shared) {
    std::vector<float> out(x.size()), gate(static_cast<std::size_t>((slots + n) * c.expert_width));
    const forward::cpu::Routed routed{n, slots, some, begin, token, weight};
    forward::cpu::run_experts(
        cpu, *mapped,
        {rig.model->block(1).ffn, shared, 1, routed, x.data(), gate.data(), out.data()}, nullptr);
    return out;
  };
  const auto both = run(active, false), first = run({active, 1}, false),
             second = run({active + 1, 1}, false);
  for (std::size_t i = 0; i < both.size(); ++i) REQUIRE(both[i] == first[i] + second[i]);
  const auto row = [&](const std::vector<float>& v, std::int64_t t) {
    return std::vector<float>(v.begin() + t * c.width, v.begin() + (t + 1) * c.width);
  };
  const std::vector<float> zeros(static_cast<std::size_t>(c.width));
  CHECK(row(both, 2) == zeros);
  CHECK(row(first, 1) == zeros);
  CHECK(row(first, 0) != zeros);
  CHECK(row(run(active, true), 2) != zeros);  // the shared expert takes every token
}
