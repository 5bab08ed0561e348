// v4i_model_plan_open: what it says is what open and sessions then take.
#include <cmath>

#include "tests/capi/tiered_host.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i::test;

namespace {

struct Hints {
  std::uint32_t tokens = 0, sessions = 0;
  int tiered = 0;
  double memory_rate = 0, disk_rate = 0;
};

v4i_model_plan plan_of(const v4infer::Engine& e, const std::string& path, const Hints& hints) {
  auto rates = v4infer::init<v4i_rates>();
  rates.type = V4I_EXT_RATES;
  rates.memory_bytes_per_s = hints.memory_rate;
  rates.disk_bytes_per_s = hints.disk_rate;
  auto o = v4infer::init<v4i_model_options>();
  o.path = path.c_str();
  o.next = reinterpret_cast<const v4i_ext*>(&rates);
  o.context_hint = hints.tokens;
  o.session_hint = hints.sessions;
  o.tiered = hints.tiered;
  auto plan = v4infer::init<v4i_model_plan>();
  v4i_error* error = nullptr;
  const v4i_status status = v4i_model_plan_open(e.get(), &o, &plan, &error);
  INFO(v4i_error_message(error));
  REQUIRE(status == V4I_OK);
  return plan;
}

v4infer::Engine engine_with(std::uint64_t host_bytes, std::uint64_t disk_bytes = 0) {
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = host_bytes;
  budget.disk_bytes = disk_bytes;
  v4i_engine_options o = v4infer::Engine::options();
  o.thread_count = 1;
  o.budget = &budget;
  return ok(v4infer::Engine::create(o));
}

// The least cap under which a plan says that it fits.
std::uint64_t least_cap(const Hints& hints, const std::string& path = text_model_path()) {
  std::uint64_t low = 1, high = std::uint64_t{1} << 32;  // high fits
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (plan_of(engine_with(middle), path, hints).fits == 1)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

v4i_status open_status(const v4infer::Engine& e, const Hints& hints,
                       const std::string& path = text_model_path()) {
  auto o = v4infer::init<v4i_model_options>();
  o.context_hint = hints.tokens;
  o.session_hint = hints.sessions;
  o.tiered = hints.tiered;
  return v4infer::Model::open(e, path.c_str(), o).error().code();
}

// Fills a session of `tokens` under `cap`; the peak of host memory.
std::uint64_t peak_of(std::uint64_t cap, std::uint32_t tokens, const std::string& disk,
                      const std::string& path = text_model_path()) {
  const v4infer::Engine e = engine_with(cap);
  auto o = v4infer::init<v4i_model_options>();
  o.context_hint = tokens;
  o.session_hint = 1;
  o.tiered = disk.empty() ? 0 : 1;
  const v4infer::Model m = ok(v4infer::Model::open(e, path.c_str(), o));
  KvStore store;
  if (!disk.empty()) store = ok(KvStore::open_disk(e, disk.c_str()));
  v4i_kv_store* const tier = store.get();
  auto so = v4infer::init<v4i_session_options>();
  so.tiers = &tier;
  so.tier_count = disk.empty() ? 0 : 1;
  v4infer::Session s = ok(v4infer::Session::create(m, so));
  ok(s.append(some_tokens(tokens - 2)));
  ok(s.prefill());
  ok(s.step());
  return ok(e.memory()).host_peak;
}

constexpr std::uint32_t kTokens = 3000;

}  // namespace

TEST_CASE("A session runs to its end under exactly the memory that the plan says, not half of it") {
  const std::uint64_t cap = least_cap({kTokens, 1});
  const std::uint64_t peak = peak_of(cap, kTokens, "");
  CHECK(peak <= cap);
  CHECK(peak > cap / 2);
  const v4i_model_plan plan = plan_of(engine_with(cap), text_model_path(), {kTokens, 1});
  CHECK(plan.host_bytes <= cap);
  CHECK(plan.context_fitting == kTokens);
  CHECK(plan.host_bytes ==
        plan.scratch_bytes + plan.slots_least_bytes + plan.kv_fixed_bytes + plan.kv_bytes);
  CHECK(open_status(engine_with(cap - 1), {kTokens, 1}) == V4I_E_NO_MEMORY);
}

TEST_CASE("The plan of a V4.1 model counts the n-gram rows of a run, and holds") {
  const std::string path = make_tiny_v41(0);
  constexpr std::uint32_t kShort = 1200;
  const std::uint64_t cap = least_cap({kShort, 1}, path);
  const std::uint64_t peak = peak_of(cap, kShort, "", path);
  CHECK(peak <= cap);
  CHECK(peak > cap / 2);
  CHECK(open_status(engine_with(cap - 1), {kShort, 1}, path) == V4I_E_NO_MEMORY);
}

TEST_CASE("With a tier a session runs to its end under less, and the plan says how much") {
  const TempDir folder;
  const Hints tiered{kTokens, 1, 1};
  const std::uint64_t cap = least_cap(tiered);
  CHECK(cap < least_cap({kTokens, 1}));
  CHECK(peak_of(cap, kTokens, folder.file("kv")) <= cap);
  CHECK(open_status(engine_with(cap), {kTokens, 1}) == V4I_E_NO_MEMORY);  // without a tier
  const v4i_model_plan plan = plan_of(engine_with(cap), text_model_path(), tiered);
  CHECK(plan.context_fitting < kTokens);
  CHECK(plan.context_fitting_tiered == kTokens);
  CHECK(plan.kv_tiered_bytes < plan.kv_bytes);
  CHECK(plan.host_bytes_tiered < plan.host_bytes);
  const v4infer::Engine small_disk = engine_with(cap, plan.kv_disk_bytes - 1);
  CHECK(plan_of(small_disk, text_model_path(), tiered).fits == 0);
}

TEST_CASE("A plan of the whole V4-Flash reads no weights and takes no memory") {
  const TempDir folder;
  write_sparse_checkpoint(folder.path(), v4_flash());
  const auto e = engine_with(std::uint64_t{8} << 30, std::uint64_t{100} << 30);
  const Hints hints{0, 1, 1, 40e9, 2e9};
  const v4i_model_plan plan = plan_of(e, folder.path(), hints);
  CHECK(ok(e.memory()).host_peak == 0);
  CHECK(plan.experts_mapped == 0);
  CHECK(plan.experts_on_host + plan.experts_on_disk == 43 * 256);
  CHECK(plan.experts_on_host > 6);
  CHECK(plan.experts_on_host * plan.slot_bytes <= (std::uint64_t{8} << 30) / 4 * 3);
  CHECK(plan.kv_tiered_bytes < plan.kv_bytes / 3);
  CHECK(plan.context_fitting_tiered > plan.context_fitting / 2);
  const double seconds = static_cast<double>(plan.token_memory_bytes) / hints.memory_rate +
                         static_cast<double>(plan.token_disk_bytes) / hints.disk_rate;
  CHECK(plan.decode_tokens_per_s_estimate == Approx(1 / seconds).epsilon(1e-6));
  CHECK(plan_of(e, folder.path(), {0, 1, 1, 40e9, 0}).decode_tokens_per_s_estimate == 0);
}

TEST_CASE("Rates that are no rates are refused by name, and open takes no notice of good ones") {
  auto rates = v4infer::init<v4i_rates>();
  rates.type = V4I_EXT_RATES;
  auto o = v4infer::init<v4i_model_options>();
  o.path = text_model_path().c_str();
  o.next = reinterpret_cast<const v4i_ext*>(&rates);
  rates.disk_bytes_per_s = 1e9;
  ok(v4infer::Model::open(engine(), o.path, o));
  for (const double wrong : {-1.0, std::nan("")}) {
    rates.disk_bytes_per_s = wrong;
    refused(V4I_E_INVALID, "v4i_rates.disk_bytes_per_s", [&](v4i_error** err) {
      auto plan = v4infer::init<v4i_model_plan>();
      return v4i_model_plan_open(engine().get(), &o, &plan, err);
    });
  }
}
