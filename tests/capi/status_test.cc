// Sections 1 and 2 of v4infer.h: status, errors, buffers, cancel tokens, get_proc.
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

TEST_CASE("get_proc knows every function of the header, and no other name") {
  std::string header = read_file(std::string(V4I_SOURCE_DIR) + "/include/v4infer/v4infer.h");
  header = std::regex_replace(header, std::regex("/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*/"), "");
  const std::regex declaration("V4I_API [^;(]*?(v4i_\\w+)\\(");
  std::set<std::string> names;
  for (std::sregex_iterator i(header.begin(), header.end(), declaration), end; i != end; ++i)
    names.insert((*i)[1]);
  REQUIRE(names.size() >= 75);
  for (const std::string& name : names) {
    CAPTURE(name);
    CHECK(v4i_get_proc(name.c_str()) != nullptr);
  }
  CHECK(v4i_get_proc("v4i_step_many") == reinterpret_cast<v4i_proc>(&v4i_step_many));
  CHECK(v4i_get_proc("v4i_") == nullptr);
  CHECK(v4i_get_proc("") == nullptr);
}

TEST_CASE("Every status has its own name") {
  std::set<std::string> names;
  for (v4i_status s = V4I_OK; s >= V4I_E_INTERNAL; --s) names.insert(v4i_status_name(s));
  CHECK(names.size() == 13);
  CHECK(v4i_status_name(V4I_E_BUSY) == std::string("V4I_E_BUSY"));
  CHECK(v4i_status_name(1) == std::string("V4I_E_UNKNOWN"));
}

TEST_CASE("build_info is JSON and names a compiler") {
  const auto info = nlohmann::json::parse(v4i_build_info());
  CHECK(!info["compiler"].get<std::string>().empty());
  CHECK(info["cuda"] == false);
  CHECK(info["isa"].is_array());
}

TEST_CASE("A cancel token outlives its release inside the call that uses it") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(40)));
  auto cancel = ok(v4infer::Cancel::create());
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = cancel.get();
  run.chunk_tokens = 1;
  run.progress_user = &cancel;
  run.progress = [](std::int32_t, std::uint64_t, std::uint64_t, void* user) -> std::int32_t {
    auto& c = *static_cast<v4infer::Cancel*>(user);
    c.signal();
    c = v4infer::Cancel();
    return 0;
  };
  CHECK(s.prefill(run).code() == V4I_E_CANCELLED);
}

TEST_CASE("A reset cancel token can be used again") {
  v4infer::Session s = greedy_session();
  ok(s.append(some_tokens(4)));
  auto cancel = ok(v4infer::Cancel::create());
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = cancel.get();
  cancel.signal();
  CHECK(s.step(run).error().code() == V4I_E_CANCELLED);
  CHECK(ok(s.info()).pending == 4);  // step() has changed nothing
  cancel.reset();
  ok(s.step(run));
}

TEST_CASE("cancel_create refuses NULL") {
  refused(V4I_E_INVALID, "NULL", [](v4i_error** err) { return v4i_cancel_create(nullptr, err); });
  v4i_cancel_signal(nullptr);
  v4i_cancel_reset(nullptr);
}
