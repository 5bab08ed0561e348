// The plan of V4.1, and that a model which needs what is not there is refused by name.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/model/model.h"
#include "lib/model/plan.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v41_config.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using nlohmann::json;

namespace {

// One row of the published table of roles: layers first to last, the first one an owner or
// a reindexing layer, the others reusing its selection.
struct Roles {
  int first, last, ratio, main, topk, candidates;
};

constexpr Roles kReleased[] = {
    {0, 1, 0, -1, -1, -1},   {2, 7, 2, 2, 2, -1},     {8, 13, 2, 8, 8, -1},
    {14, 19, 2, 14, 14, -1}, {20, 23, 1, 20, 20, -1}, {24, 27, 1, 20, 24, 20},
    {28, 31, 1, 20, 28, 20}, {32, 35, 1, 20, 32, 20}, {36, 39, 1, 20, 36, 20},
};

LayerPlan expected(const Roles& r, int layer) {
  LayerPlan p;
  p.attention = r.ratio == 0 ? AttentionKind::kWindow : AttentionKind::kCsa2;
  p.ratio = r.ratio;
  p.yarn_rope = r.ratio != 0;
  p.indexer = layer == r.topk;
  p.main_from = p.index_from = r.main;
  p.topk_from = r.topk;
  p.candidates_from = layer == r.topk ? r.candidates : -1;
  p.publishes_candidates = layer == 20;
  p.gate = layer == 2 || layer == 8 || layer == 14;
  p.route_eps = 1e-20f;
  p.window_rows = RowForm::kFp8;
  p.main_rows = RowForm::kFp4;
  p.query_norm = false;
  p.router_biases = 2;
  p.mhc = MhcKind::kLagged;
  p.engram = layer == 1 || layer == 14;
  return p;
}

Plan plan_with(const std::string& key, const std::string& value) {
  const std::string text = test::edit_json(test::v41_config(), "/text_config/" + key, value);
  return make_plan(parse_config(text, "c"));
}

// What lib/forward will rely on, for any config that is accepted.
bool plan_holds(const Config& c) {
  const Plan plan = make_plan(c);
  bool ok = plan.layers.size() == static_cast<std::size_t>(c.layers);
  for (int i = 0; i < static_cast<int>(c.layers); ++i) {
    const LayerPlan& p = plan.layers[static_cast<std::size_t>(i)];
    if (p.ratio == 0) {
      ok = ok && p.main_from == -1 && p.index_from == -1 && p.topk_from == -1 && !p.indexer;
      continue;
    }
    ok = ok && p.main_from >= 0 && p.main_from <= i && p.topk_from >= p.main_from &&
         p.topk_from <= i && p.candidates_from < i;
    if (!ok) return false;
    const LayerPlan& main = plan.layers[static_cast<std::size_t>(p.main_from)];
    const LayerPlan& topk = plan.layers[static_cast<std::size_t>(p.topk_from)];
    ok = main.main_from == p.main_from && main.ratio == p.ratio && main.indexer && topk.indexer &&
         topk.main_from == p.main_from && p.indexer == (p.topk_from == i);
    if (p.candidates_from < 0) continue;
    const LayerPlan& from = plan.layers[static_cast<std::size_t>(p.candidates_from)];
    ok = ok && p.indexer && from.publishes_candidates && from.main_from == p.main_from;
  }
  return ok && c.engram.layers.size() == c.engram.rows.size();
}

}  // namespace

TEST_CASE("the plan of V4.1-Flash is the published table of layer roles", "[model][plan][v41]") {
  for (const std::string& config : {test::v41_config(), test::v41_reference_config()}) {
    const Plan plan = make_plan(parse_config(config, "c"));
    REQUIRE(plan.layers.size() == 40);
    for (const Roles& r : kReleased)
      for (int i = r.first; i <= r.last; ++i) {
        CAPTURE(i);
        CHECK(plan.layers[static_cast<std::size_t>(i)] == expected(r, i));
      }
    CHECK(plan.draft == expected({40, 40, 0, -1, -1, -1}, 40));
    CHECK(plan.draft_stages == 3);
    CHECK(plan.outputs_from == 20);
    CHECK(plan.scale_block == 32);
  }
}

TEST_CASE("a consumer takes the closest preceding publisher, with or without candidates",
          "[model][plan][v41]") {
  const Plan none = plan_with("candidate_source_layer_id", "-1");
  CHECK(none.layers[24].indexer);
  CHECK(none.layers[24].candidates_from == -1);
  CHECK_FALSE(none.layers[20].publishes_candidates);
  const Plan later = plan_with("candidate_source_layer_id", "28");
  CHECK(later.layers[24].candidates_from == -1);
  CHECK(later.layers[28].publishes_candidates);
  CHECK(later.layers[32].candidates_from == 28);
  const Plan more = plan_with("index_source_layer_ids", "[2,5,8,14,20]");
  CHECK(more.layers[4].topk_from == 2);
  CHECK(more.layers[5].indexer);
  CHECK(more.layers[7].topk_from == 5);
  CHECK(more.layers[7].main_from == 2);
  CHECK(more.layers[39].topk_from == 20);
}

TEST_CASE("any one value of a V4.1 config replaced gives a sentence or a consistent plan",
          "[model][plan][v41]") {
  const char* const values[] = {
      "0",    "-1", "1",  "2",    "21",    "127",        "0.5",
      "true", "[]", "{}", "\"\"", "[[1]]", "4294967296", "18446744073709551615"};
  int refusals = 0, accepted = 0;
  for (const std::string& config : {test::v41_config(), test::v41_reference_config()}) {
    std::vector<std::string> paths = {"/text_config",         "/vision_config",
                                      "/quantization_config", "/text_config/rope_scaling",
                                      "/compress_ratios",     "/kv_source_layers",
                                      "/engram_layer_ids"};
    const json flat = json::parse(config).flatten();
    for (const auto& item : flat.items()) paths.push_back(item.key());
    for (const std::string& path : paths) {
      for (const char* value : values) {
        CAPTURE(path, value);
        const std::string text = test::edit_json(config, path, value);
        const std::string said = test::refusal([&] { parse_config(text, "config.json"); });
        if (said == "accepted") {
          ++accepted;
          REQUIRE(plan_holds(parse_config(text, "c")));
        } else {
          ++refusals;
          REQUIRE(said.starts_with("config.json: "));
          REQUIRE(said.size() > 20);
        }
      }
    }
  }
  CHECK(refusals > 1000);
  CHECK(accepted > 100);
}

TEST_CASE("each part of V4.1 that V4 has not is named", "[model][plan][v41]") {
  const Plan v4 = make_plan(parse_config(test::v4_config(test::odd_shape()), "c"));
  REQUIRE(first_beyond_v4(v4).empty());
  const auto said = [&](auto change) {
    Plan plan = v4;
    change(plan.layers[1]);
    return first_beyond_v4(plan);
  };
  CHECK(said([](LayerPlan& p) { p.engram = true; }) == "layer 1: Engram");
  CHECK(said([](LayerPlan& p) { p.mhc = MhcKind::kLagged; }) == "layer 1: lagged mHC");
  CHECK(said([](LayerPlan& p) { p.query_norm = false; }) ==
        "layer 1: queries without a norm of each head");
  CHECK(said([](LayerPlan& p) { p.window_rows = RowForm::kFp8; }) ==
        "layer 1: window rows all fp8");
  CHECK(said([](LayerPlan& p) { p.main_rows = RowForm::kFp4; }) == "layer 1: main rows in fp4");
  CHECK(said([](LayerPlan& p) { p.attention = AttentionKind::kCsa2; }) == "layer 1: CSA2");
  CHECK(said([](LayerPlan& p) { p.main_from = 0; }) == "layer 1: main rows of layer 0");
  CHECK(said([](LayerPlan& p) { p.candidates_from = 0; }) == "layer 1: candidates of layer 0");
  CHECK(said([](LayerPlan& p) { p.router_biases = 2; }) == "layer 1: router bias for images");
  CHECK(said([](LayerPlan& p) { p.route_eps = 1e-20f; }) == "layer 1: router weights of V4.1");
  Plan draft = v4;
  draft.draft.mhc = MhcKind::kLagged;
  CHECK(first_beyond_v4(draft) == "draft stages: lagged mHC");
}
