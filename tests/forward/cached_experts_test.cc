// Experts in slots give the bits of mapped ones, whatever the slots, the reads and the budget do.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "lib/experts/experts.h"
#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using forward::Numerics;
using Kind = store::ReadQueue::Kind;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::shared_ptr<store::ReadQueue> reads(Kind kind = Kind::kBest) {
  store::ReadQueue::Options o;
  o.kind = kind;
  return std::make_shared<store::ReadQueue>(o);
}

// A rig whose experts lie in slots.
struct Cached : test::Rig {
  std::shared_ptr<experts::Experts> experts;

  Cached(const std::string& path, Numerics numerics, const experts::CacheOptions& options,
         int threads = 1, Kind kind = Kind::kBest)
      : Rig(path, numerics, threads) {
    experts = experts::cached_experts(model, budget, reads(kind), options);
    forward = std::make_unique<forward::Forward>(model, *backend, forward::Options{numerics, 300},
                                                 forward::Lookups{experts, nullptr});
  }
};

std::string nano() { return test::source_dir() + "/examples/nano/model"; }

std::vector<std::int32_t> some_ids(std::size_t n, std::int32_t vocab) {
  std::vector<std::int32_t> ids(n);
  std::uint32_t x = 7;
  for (std::int32_t& id : ids) {
    x = x * 1664525 + 1013904223;
    id = 2 + static_cast<std::int32_t>((x >> 8) % static_cast<std::uint32_t>(vocab - 2));
  }
  return ids;
}

// Descriptors of shards, and what they read: a broken one gives EIO for every read, since nothing
// is mapped at low addresses.
class Shards {
 public:
  experts::CacheOptions options() {
    experts::CacheOptions o;
    o.slots = 6;
    o.open_shard = [this](const std::string& path) {
      const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      opened_[path] = fd;
      return fd;
    };
    return o;
  }
  std::string path(std::size_t i) const { return std::next(opened_.begin(), long(i))->first; }
  void replace(const std::string& path, const char* by) {
    const int other = ::open(by, O_RDONLY | O_CLOEXEC);
    REQUIRE(other >= 0);
    REQUIRE(::dup2(other, opened_.at(path)) >= 0);
    ::close(other);
  }
  void break_reads(const std::string& path) { replace(path, "/proc/self/mem"); }
  void mend(const std::string& path) { replace(path, path.c_str()); }

 private:
  std::map<std::string, int> opened_;
};

}  // namespace

TEST_CASE("experts in few slots give the bits of mapped ones", "[forward][experts][bits]") {
  const std::string models[] = {test::make_tiny(1), test::make_tiny(2), nano()};
  for (const std::string& path : models) {
    for (const Numerics numerics : test::modes()) {
      if (path == nano() && numerics != Numerics::kNative) continue;  // a large vocabulary
      test::Rig mapped(path, numerics, 2);
      const auto ids = some_ids(32, static_cast<std::int32_t>(mapped.vocab()));
      const auto want = mapped.logits(ids, 32);
      for (const std::size_t slots : {1, 2, 5, 10, 20, 100}) {  // of 20 or 40 experts
        experts::CacheOptions options;
        options.slots = slots;
        options.guesses = slots != 10;
        const Kind kind = slots == 5 ? Kind::kThreads : Kind::kBest;
        Cached rig(path, numerics, options, slots == 2 ? 1 : 2, kind);
        CAPTURE(path, static_cast<int>(numerics), slots);
        for (const int chunk : {32, 7, 1}) CHECK(same_bits(rig.logits(ids, chunk), want));
        const experts::Stats s = rig.experts->stats();
        CHECK(s.slots <= slots);
        CHECK(s.errors == 0);
        CHECK(s.bytes_read > 0);
        if (slots <= 10) CHECK(s.slots == slots);
        if (slots <= 10) CHECK(s.evictions > 3 * s.slots);
        if (slots == 100) CHECK(s.evictions == 0);
        if (slots == 100) CHECK(s.hits > 10 * s.misses);
      }
    }
  }
}

TEST_CASE("a read that fails ends the run with shard and tensor, and the next run is right",
          "[forward][experts]") {
  const std::string path = test::make_tiny(1);
  test::Rig mapped(path, Numerics::kNative, 1);
  const auto ids = some_ids(24, 512);
  const auto want = mapped.logits(ids, 24);
  for (const Kind kind : {Kind::kBest, Kind::kThreads}) {
    Shards shards;
    Cached rig(path, Numerics::kNative, shards.options(), 1, kind);
    const std::string shard = shards.path(0);
    for (int again = 0; again < 3; ++again) {
      shards.break_reads(shard);
      const std::string said = test::refusal([&] { rig.logits(ids, 24); });
      CAPTURE(said);
      CHECK_THAT(said, Catch::Contains(shard + ": cannot read tensor layers."));
      CHECK_THAT(said, Catch::Contains(".ffn.experts."));
      shards.mend(shard);
      CHECK(same_bits(rig.logits(ids, 24), want));
    }
    CHECK(rig.experts->stats().errors >= 3);
  }
}

TEST_CASE("a session goes on where a failed read has ended its run", "[forward][experts]") {
  const std::string path = test::make_tiny(1);
  test::Rig mapped(path, Numerics::kNative, 1);
  const auto ids = some_ids(40, 512);
  const auto want = mapped.logits(ids, 40);
  Shards shards;
  Cached rig(path, Numerics::kNative, shards.options());
  kv::State state = rig.state();
  const auto vocab = static_cast<std::size_t>(rig.vocab());
  std::vector<float> got(want.size());
  int failed = 0;
  for (std::size_t at = 0; at < ids.size();) {
    if (at % 3 == 0) shards.break_reads(shards.path(0));
    const forward::Item item{&state, {&ids[at], 1}, &got[at * vocab]};
    try {
      rig.forward->run({&item, 1}, nullptr);
      ++at;
    } catch (const Error& e) {
      CHECK(e.code() == Code::kIo);
      ++failed;
      shards.mend(shards.path(0));
      rig.forward->run({&item, 1}, nullptr);
      ++at;
    }
  }
  CHECK(failed > 3);
  CHECK(same_bits(got, want));
}

TEST_CASE("a shard that was cut off is named with the tensor that is gone", "[forward][experts]") {
  const test::TempDir dir;
  test::copy_model(test::make_tiny(1), dir.path());
  Shards shards;
  Cached rig(dir.path(), Numerics::kNative, shards.options());
  const auto ids = some_ids(8, 512);
  const auto want = rig.logits(ids, 8);
  // Cut off behind what was mapped: only the descriptor sees it.
  const std::string shard = shards.path(0), cut = dir.file("cut");
  test::write_file(cut, test::read_file(shard).substr(0, 100000));
  shards.replace(shard, cut.c_str());
  const std::string said = test::refusal([&] { rig.logits(some_ids(200, 512), 100); });
  CAPTURE(said);
  CHECK_THAT(said, Catch::Contains(shard + ": ends at byte "));
  CHECK_THAT(said, Catch::Contains(", tensor layers."));
  CHECK_THAT(said, Catch::Contains("it was cut off after it was opened"));
  shards.mend(shard);
  CHECK(same_bits(rig.logits(ids, 8), want));
}

TEST_CASE("a budget that shrinks and grows while tokens are computed is kept, with the same bits",
          "[forward][experts]") {
  const std::string path = test::make_tiny(2);
  test::Rig mapped(path, Numerics::kNative, 1);
  const auto ids = some_ids(100, 512);
  const auto want = mapped.logits(ids, 100);
  Cached rig(path, Numerics::kNative, {});
  const std::uint64_t cost = rig.experts->stats().slot_bytes;
  const std::uint64_t others = rig.budget.used() - rig.budget.used(Use::kWeights) + (4u << 20);
  std::atomic<bool> stop{false};
  std::uint64_t over = 0, changes = 0;
  std::thread changer([&] {
    for (std::uint64_t n = 0; !stop; ++n, ++changes) {
      rig.budget.change_cap(others + cost * (2 + n * 7 % 40));
      if (rig.budget.used() > rig.budget.cap() + 2 * cost) ++over;
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  bool same = true;
  for (int i = 0; i < 4; ++i)
    for (const int chunk : {100, 9, 1}) same = same && same_bits(rig.logits(ids, chunk), want);
  stop = true;
  changer.join();
  CHECK(same);
  CHECK(changes > 20);
  rig.budget.change_cap(rig.budget.used() - rig.budget.used(Use::kWeights) + 3 * cost);
  CHECK(rig.budget.used() <= rig.budget.cap());
  CHECK(rig.experts->stats().slots <= 3);
  rig.budget.change_cap(rig.budget.cap() + (4u << 20));  // for a session's rows
  CHECK(same_bits(rig.logits(ids, 9), want));
  CHECK(over == 0);
}

TEST_CASE("experts leave room: they grow to three quarters, and give back what others take",
          "[forward][experts]") {
  const std::string path = test::make_tiny(1);
  Cached rig(path, Numerics::kNative, {});
  const std::uint64_t cost = rig.experts->stats().slot_bytes;
  const std::uint64_t others = rig.budget.used() - rig.budget.used(Use::kWeights);
  rig.budget.change_cap(others + 40 * cost);
  const auto ids = some_ids(60, 512);
  const auto want = rig.logits(ids, 60);
  const std::uint64_t grown = rig.budget.used(Use::kWeights);
  CHECK(grown <= rig.budget.cap() / 4 * 3);
  CHECK(grown >= 20 * cost);
  {
    const Buffer<std::byte> rows(rig.budget, 35 * cost, Use::kKv, "KV rows");  // refused without it
    CHECK(rig.budget.used(Use::kWeights) <= 5 * cost);
    CHECK(rig.budget.used() <= rig.budget.cap());
  }
  CHECK(same_bits(rig.logits(ids, 60), want));
  CHECK(rig.budget.used(Use::kWeights) >= 20 * cost);
}

TEST_CASE("a budget without room for one expert is refused by name", "[forward][experts]") {
  const auto model = model::Model::open(test::make_tiny(1));
  Budget budget(10000);
  const std::string said = test::refusal([&] { experts::cached_experts(model, budget, reads()); });
  CAPTURE(said);
  CHECK_THAT(said, Catch::Contains("room for one expert needs"));
  CHECK(budget.used() == 0);
  Budget large(model->tensor_bytes());
  CHECK_FALSE(experts::needs_cache(*model, large));
  large.change_cap(model->tensor_bytes() - 1);
  CHECK(experts::needs_cache(*model, large));
  CHECK_FALSE(experts::needs_cache(*model, Budget()));
}

TEST_CASE("too few slots for a token are said once", "[forward][experts]") {
  std::vector<std::string> said;
  experts::CacheOptions options;
  options.slots = 1;
  options.log = [&](const std::string& text) { said.push_back(text); };
  Cached rig(test::make_tiny(1), Numerics::kNative, options);
  rig.logits(some_ids(5, 512), 1);
  rig.logits(some_ids(5, 512), 5);
  REQUIRE(said.size() == 1);
  CHECK_THAT(said[0], Catch::Contains("room for 1 of the 2 experts that a token needs"));
  options.slots = 2;
  Cached enough(test::make_tiny(1), Numerics::kNative, options);
  enough.logits(some_ids(5, 512), 5);
  CHECK(said.size() == 1);
}

TEST_CASE("what hash layers need is read before it is acquired", "[forward][experts]") {
  experts::CacheOptions options;
  options.slots = 16;
  options.guesses = false;
  Cached rig(nano(), Numerics::kNative, options);  // two hash layers of four
  rig.logits(some_ids(40, 8192), 1);
  const experts::Stats s = rig.experts->stats();
  CHECK(s.hint_reads > 0);
  CHECK(s.hint_hits >= s.hint_reads - 1);  // all were needed, at most one of them not in time
}

TEST_CASE("heat brings back what was used, in another process", "[forward][experts]") {
  const std::string path = test::make_tiny(1);
  const auto ids = some_ids(200, 512);
  experts::CacheOptions options;
  options.slots = 20;
  std::string heat;
  {
    Cached rig(path, Numerics::kNative, options);
    rig.logits(ids, 1);
    heat = rig.experts->heat();
  }
  Cached rig(path, Numerics::kNative, options);
  CHECK_FALSE(rig.experts->restore_heat(heat.substr(1)));
  CHECK_FALSE(rig.experts->restore_heat(""));
  std::string other = heat;
  other[heat.size() - 2] ^= 1;
  CHECK_FALSE(rig.experts->restore_heat(other));
  CHECK(rig.experts->stats().hint_reads == 0);
  REQUIRE(rig.experts->restore_heat(heat));
  CHECK(rig.experts->stats().hint_reads == 20);
  test::Rig mapped(path, Numerics::kNative);
  CHECK(same_bits(rig.logits(ids, 200), mapped.logits(ids, 200)));
  CHECK(rig.experts->stats().hint_hits > 10);
  Cached elsewhere(test::make_tiny(2), Numerics::kNative, options);
  CHECK_FALSE(elsewhere.experts->restore_heat(heat));  // another model
}

TEST_CASE("guesses at the next layer spare misses of a trained router, and can be turned off",
          "[forward][experts]") {
  const auto ids = some_ids(150, 8192);
  const auto run = [&](bool guesses, std::vector<float>* logits) {
    experts::CacheOptions options;
    options.slots = 8;  // of 16
    options.guesses = guesses;
    Cached rig(nano(), Numerics::kNative, options);
    *logits = rig.logits(ids, 1);
    return rig.experts->stats();
  };
  std::vector<float> with, without;
  const experts::Stats on = run(true, &with), off = run(false, &without);
  CHECK(same_bits(with, without));
  CHECK(on.hits + on.late + on.misses == off.hits + off.late + off.misses);
  CHECK(on.hint_reads > off.hint_reads);
  CHECK(on.misses < off.misses);
}

TEST_CASE("a NaN scale is refused in a slot as in the mapping", "[forward][experts]") {
  const test::TempDir dir;
  const std::string from = test::make_tiny(1);
  test::StFile file = test::read_safetensors(from + "/model.safetensors");
  file.at("layers.2.ffn.experts.3.w2.scale").bytes[9] = '\xff';
  test::write_safetensors(dir.file("model.safetensors"), file);
  std::filesystem::copy_file(from + "/config.json", dir.file("config.json"));
  experts::CacheOptions options;
  options.slots = 3;
  Cached rig(dir.path(), Numerics::kNative, options);
  const auto ids = some_ids(100, 512);
  const std::string said = test::refusal([&] { rig.logits(ids, 100); });
  CHECK_THAT(said, Catch::Contains("tensor layers.2.ffn.experts.3.w2.scale: element 9 is 0xff"));
  CHECK(test::refusal([&] { rig.logits(ids, 100); }) == said);
}
