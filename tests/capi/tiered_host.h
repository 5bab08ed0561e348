// An engine with a model, whose sessions have tiers, and what they say.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <v4infer/kv_store.hpp>
#include <vector>

#include "tests/capi/fixture.h"
#include "tests/capi/map_store.h"

namespace v4i::test {

using v4infer::KvStore;

// An engine of its own, so that its budget and its log are the test's.
struct Host {
  v4infer::Engine engine;
  v4infer::Model model;
  std::vector<std::string> log;
  std::uint64_t disk_bytes = 0;  // the cap

  explicit Host(std::uint64_t host_bytes = 0, const std::string& path = text_model_path()) {
    auto budget = v4infer::init<v4i_memory_budget>();
    budget.host_bytes = host_bytes;
    v4i_engine_options o = v4infer::Engine::options();
    o.thread_count = 1;
    o.budget = &budget;
    o.log_user = this;
    o.log = [](std::int32_t, const char*, const char* text, std::size_t len, void* user) {
      static_cast<Host*>(user)->log.emplace_back(text, len);
    };
    engine = ok(v4infer::Engine::create(o));
    model = ok(v4infer::Model::open(engine, path.c_str()));
  }
  KvStore wrap(const std::shared_ptr<MapBlocks>& blocks, Manner manner = Manner::kGood) {
    return ok(KvStore::wrap(engine, std::make_unique<MapStore>(blocks, manner)));
  }
  v4infer::Session session(const std::vector<v4i_kv_store*>& tiers) {
    auto o = v4infer::init<v4i_session_options>();
    o.tiers = tiers.data();
    o.tier_count = tiers.size();
    o.seed = 3;
    return ok(v4infer::Session::create(model, o));
  }
  std::uint64_t kv_bytes() { return ok(engine.memory()).host_kv; }
  // All KV blocks that a store has leave memory; then there is room again.
  void squeeze() {
    auto b = v4infer::init<v4i_memory_budget>();
    b.host_bytes = 1;
    b.disk_bytes = disk_bytes;
    ok(engine.set_budget(b));
    b.host_bytes = 0;
    ok(engine.set_budget(b));
  }
  bool logged(const std::string& word) const {
    return std::any_of(log.begin(), log.end(), [&](const std::string& line) {
      return line.find(word) != std::string::npos;
    });
  }
};

inline constexpr std::size_t kPrompt = 700;

// Some of the text of a prompt and what follows; `between` is called on the way.
inline std::string talk(v4infer::Session& s, const std::function<void()>& between) {
  ok(s.append(some_tokens(kPrompt)));
  ok(s.prefill());
  std::string text;
  for (int i = 0; i < 6; ++i) {
    between();
    const v4i_step step = ok(s.step());
    text += std::to_string(step.tokens[0]) + " ";
  }
  return text;
}

inline const std::string& plain_text() {
  static const std::string text = [] {
    Host host;
    v4infer::Session s = host.session({});
    return talk(s, [] {});
  }();
  return text;
}

}  // namespace v4i::test
