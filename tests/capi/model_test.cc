// Section 4 of v4infer.h: probing, planning, opening, describing a model.
#include <nlohmann/json.hpp>

#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

namespace {

void open_refused(v4i_model_options o, v4i_status want, const char* word) {
  v4i_model* out = nullptr;
  refused(want, word,
          [&](v4i_error** err) { return v4i_model_open(engine().get(), &o, &out, err); });
  CHECK(out == nullptr);
}

v4i_model_options options() {
  auto o = v4infer::init<v4i_model_options>();
  o.path = text_model_path().c_str();
  return o;
}

v4i_numerics numerics(std::int32_t mode) {
  auto n = v4infer::init<v4i_numerics>();
  n.type = V4I_EXT_NUMERICS;
  n.mode = mode;
  return n;
}

const v4i_ext* as_ext(const v4i_numerics& n) { return reinterpret_cast<const v4i_ext*>(&n); }

}  // namespace

TEST_CASE("Probe and get_info tell the same numbers of a model") {
  auto probed = v4infer::init<v4i_model_info>();
  REQUIRE(v4i_model_probe(engine().get(), text_model_path().c_str(), &probed, nullptr) == V4I_OK);
  const v4i_model_info info = ok(model().info());
  CHECK(probed.family == std::string("deepseek_v4"));
  CHECK(std::string(probed.digest).size() == 64);
  CHECK(probed.digest == std::string(info.digest));
  CHECK(info.layer_count == 4);
  CHECK(info.vocab_size == 512);
  CHECK(info.expert_count == 8);
  CHECK(info.expert_active == 2);
  CHECK(info.parameter_count == probed.parameter_count);
  CHECK((info.capabilities & V4I_CAP_DRAFT) != 0);
  CHECK((info.capabilities & V4I_CAP_IMAGE) == 0);
  refused(V4I_E_IO, "/no/such", [](v4i_error** err) {
    auto out = v4infer::init<v4i_model_info>();
    return v4i_model_probe(engine().get(), "/no/such", &out, err);
  });
}

TEST_CASE("Every model option out of its range is refused by name") {
  auto o = options();
  o.path = nullptr;
  open_refused(o, V4I_E_INVALID, "path is NULL");
  o = options();
  o.verify_tensors = 2;
  open_refused(o, V4I_E_INVALID, "verify_tensors is 2, allowed is 0 to 1");
  o = options();
  o.reserved0 = 1;
  open_refused(o, V4I_E_INVALID, "reserved0");
  o = options();
  o.tiered = 2;
  open_refused(o, V4I_E_INVALID, "tiered is 2, allowed is 0 to 1");
  o = options();
  o.struct_size = 3;
  open_refused(o, V4I_E_ABI, "v4i_model_options");
  o = options();
  o.path = "/no/such/model";
  open_refused(o, V4I_E_IO, "/no/such/model");
}

TEST_CASE("Extension blocks: numerics is known, others and endless chains are refused") {
  v4i_numerics n = numerics(V4I_NUMERICS_EXACT);
  auto o = options();
  o.next = as_ext(n);
  ok(v4infer::Model::open(engine(), o.path, o));
  n.mode = 4;
  open_refused(o, V4I_E_INVALID, "v4i_numerics.mode is 4, allowed is 0 to 3");
  n = numerics(0);
  n.type = 77;
  open_refused(o, V4I_E_UNSUPPORTED, "extension type 77");
  n = numerics(0);
  n.next = as_ext(n);
  open_refused(o, V4I_E_INVALID, "no end");
  n = numerics(0);
  n.struct_size = 8;
  open_refused(o, V4I_E_ABI, "v4i_numerics");
}

TEST_CASE("Exact and native numerics give different logits, native is the default") {
  const auto logits = [](std::int32_t mode) {
    const v4i_numerics n = numerics(mode);
    auto o = options();
    if (mode >= 0) o.next = as_ext(n);
    const auto m = ok(v4infer::Model::open(engine(), o.path, o));
    auto s = ok(v4infer::Session::create(m));
    return ok(s.eval(some_tokens(3), 512));
  };
  CHECK(logits(-1) == logits(V4I_NUMERICS_NATIVE));
  CHECK(logits(0) == logits(V4I_NUMERICS_NATIVE));
  CHECK(logits(V4I_NUMERICS_EXACT) != logits(V4I_NUMERICS_NATIVE));
}

TEST_CASE("Fast numerics opens with kernels that have int8 products, or says what it needs") {
  const v4i_numerics n = numerics(V4I_NUMERICS_FAST);
  auto o = options();
  o.next = as_ext(n);
  auto e = v4infer::Engine::options();
  e.force_isa = "scalar";
  const auto scalar = ok(v4infer::Engine::create(e));
  const auto m = ok(v4infer::Model::open(scalar, o.path, o));
  auto s = ok(v4infer::Session::create(m));
  CHECK(ok(s.eval(some_tokens(3), 512)).size() == 3 * 512);
  e.force_isa = "avx2";
  auto avx2 = v4infer::Engine::create(e);
  if (!avx2) return;  // not on this processor
  auto without = v4infer::Model::open(*avx2, o.path, o);
  REQUIRE(!without);
  CHECK(without.error().code() == V4I_E_UNSUPPORTED);
}

TEST_CASE("Opening reports progress to its end and can be cancelled both ways") {
  struct Seen {
    std::uint64_t done = 0, total = 1;
    int calls = 0, stop_at = 1000;
  } seen;
  auto o = options();
  o.verify_tensors = 1;
  o.progress_user = &seen;
  o.progress = [](std::int32_t phase, std::uint64_t done, std::uint64_t total, void* user) {
    auto* s = static_cast<Seen*>(user);
    s->done = done;
    s->total = total;
    return phase != V4I_PHASE_READ || s->calls++ >= s->stop_at ? 1 : 0;
  };
  ok(v4infer::Model::open(engine(), o.path, o));
  CHECK(seen.calls == 5);  // four layers, then the end
  CHECK(seen.done == seen.total);
  seen = {};
  seen.stop_at = 1;
  open_refused(o, V4I_E_CANCELLED, "progress");
  auto cancel = ok(v4infer::Cancel::create());
  cancel.signal();
  o = options();
  o.cancel = cancel.get();
  open_refused(o, V4I_E_CANCELLED, "cancelled");
}

TEST_CASE("A progress function that throws is V4I_E_INTERNAL with its text") {
  auto o = options();
  o.progress = [](std::int32_t, std::uint64_t, std::uint64_t, void*) -> std::int32_t {
    throw std::runtime_error("the progress bar fell over");
  };
  open_refused(o, V4I_E_INTERNAL, "the progress bar fell over");
}

TEST_CASE("verify_tensors names a damaged tensor at open, not at first use") {
  const TempDir dir;
  copy_model(make_tiny(1), dir.path());
  const std::string file = dir.file("model.safetensors");
  std::string bytes = read_file(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const auto json = nlohmann::json::parse(bytes.substr(8, header));
  const auto& tensor = json["layers.2.ffn.experts.5.w2.scale"];
  bytes[8 + header + tensor["data_offsets"][0].get<std::size_t>()] = '\xff';  // NaN
  write_file(file, bytes);
  auto o = v4infer::init<v4i_model_options>();
  ok(v4infer::Model::open(engine(), dir.path().c_str(), o));
  o.verify_tensors = 1;
  const auto m = v4infer::Model::open(engine(), dir.path().c_str(), o);
  CHECK(m.error().code() == V4I_E_FORMAT);
  CHECK(std::string(m.error().message()).find("layers.2.ffn.experts.5.w2") != std::string::npos);
}

TEST_CASE("A plan says what fits, open refuses what does not, and both agree") {
  auto e = ok(v4infer::Engine::create());
  auto plan = v4infer::init<v4i_model_plan>();
  auto o = options();
  o.context_hint = 4096;
  o.session_hint = 3;
  REQUIRE(v4i_model_plan_open(e.get(), &o, &plan, nullptr) == V4I_OK);
  CHECK(plan.fits == 1);
  CHECK(plan.context_fitting == 4096);
  CHECK(plan.disk_bytes > 0);
  const std::uint64_t need = plan.host_bytes;
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = need;
  ok(e.set_budget(budget));
  ok(v4infer::Model::open(e, o.path, o));
  budget.host_bytes = need - 1;
  ok(e.set_budget(budget));
  REQUIRE(v4i_model_plan_open(e.get(), &o, &plan, nullptr) == V4I_OK);
  CHECK(plan.fits == 0);
  CHECK(plan.context_fitting < 4096);
  CHECK(plan.context_fitting > 0);
  const auto m = v4infer::Model::open(e, o.path, o);
  CHECK(m.error().code() == V4I_E_NO_MEMORY);
  CHECK(std::string(m.error().message()).find("3 session(s) of 4096 tokens") != std::string::npos);
}

TEST_CASE("The description adds up and lists every tensor when asked") {
  const auto d = nlohmann::json::parse(ok(model().describe(V4I_DESCRIBE_TENSORS)));
  CHECK(d["tensors"].size() == d["sizes"]["tensors"].get<std::size_t>());
  CHECK(d["plan"]["layers"].size() == 4);
  CHECK(d["config"]["experts"] == 8);
  CHECK(d["sizes"]["weight_bytes_per_token"] < d["sizes"]["tensor_bytes"]);
  CHECK(d["tokenizer"] == true);
  CHECK(!nlohmann::json::parse(ok(model().describe())).contains("tensors"));
  v4i_buffer* out = nullptr;
  refused(V4I_E_INVALID, "0x2",
          [&](v4i_error** err) { return v4i_model_describe(model().get(), 2, &out, err); });
  refused(V4I_E_INVALID, "json is NULL",
          [&](v4i_error** err) { return v4i_model_describe(model().get(), 0, nullptr, err); });
}

TEST_CASE("A model lives as long as its sessions, an engine as long as its models") {
  v4infer::Session s;
  {
    auto e = ok(v4infer::Engine::create());
    auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
    s = ok(v4infer::Session::create(m));
    e = v4infer::Engine();
    m = v4infer::Model();
  }
  ok(s.append("still here"));
  ok(s.step());
}
