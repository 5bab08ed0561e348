// Forward on a machine that computes nothing: the order of the calls, cancelling, undo.
#include <functional>

#include "lib/forward/forward.h"
#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;

namespace {

// Writes down what it is asked for.
class Scribe final : public forward::Executor {
 public:
  explicit Scribe(std::vector<std::string>* log, std::function<void(const std::string&)> then)
      : log_(log), then_(std::move(then)) {}
  const std::string& identity() const override { return identity_; }
  std::size_t workspace_bytes() const override { return 0; }
  std::int64_t head_rows() const override { return 4; }
  void begin(const forward::Batch& b, forward::Streams, forward::Profile*) override {
    note(fmt::format("begin {}", b.n()));
  }
  void begin_draft(const forward::Batch&, const float*) override { note("begin_draft"); }
  void feed_dspark(const forward::Batch&, const float*) override { note("feed_dspark"); }
  void begin_dspark(const forward::Batch&) override { note("begin_dspark"); }
  void guess_dspark(const forward::Guesses&) override { note("guess_dspark"); }
  void layer(forward::Layer l, const forward::Batch& in, const forward::Batch& out,
             kv::Lease) override {
    note(fmt::format("layer {} {} {}", l.index, in.n(), out.n()));
  }
  void streams(std::int64_t first, std::int64_t n, float*, float*) override {
    note(fmt::format("streams {} {}", first, n));
  }
  void head(bool, std::span<const forward::LogitsRow> rows) override {
    note(fmt::format("head {} {}", rows[0].token, rows.size()));
  }
  void finish() override { note("finish"); }
  void abandon() noexcept override { log_->push_back("abandon"); }

 private:
  void note(std::string what) {
    log_->push_back(what);
    if (then_) then_(what);
  }
  std::string identity_ = "scribe";
  std::vector<std::string>* log_;
  std::function<void(const std::string&)> then_;
};

class Machine final : public forward::Backend {
 public:
  explicit Machine(Budget& budget) : memory_(std::make_shared<store::HostMemory>(budget)) {}
  std::vector<std::string> log;
  std::function<void(const std::string&)> then;  // after each call
  const char* name() const override { return "scribe"; }
  const std::string& identity() const override { return identity_; }
  const std::shared_ptr<store::Memory>& memory() const override { return memory_; }
  std::unique_ptr<forward::Executor> open(std::shared_ptr<const model::Model>, forward::Lookups,
                                          const forward::Options&) override {
    return std::make_unique<Scribe>(&log, [this](const std::string& s) {
      if (then) then(s);
    });
  }

 private:
  std::string identity_ = "scribe";
  std::shared_ptr<store::Memory> memory_;
};

struct Stage {
  Budget budget;
  Machine machine{budget};
  std::shared_ptr<const model::Model> model = model::Model::open(test::make_tiny(1));
  forward::Forward forward{model, machine, {}};
  store::BlockCache cache{machine.memory()};
  std::vector<float> logits = std::vector<float>(600 * 512);
  kv::State state() {
    return {std::make_shared<kv::Layout>(forward.layout()), cache, model->digest()};
  }
};

const std::vector<std::int32_t> kIds(10, 3);

}  // namespace

TEST_CASE("the last layer gets the tokens with outputs alone", "[forward]") {
  Stage s;
  kv::State a = s.state(), b = s.state();
  const forward::Item items[] = {{&a, kIds, s.logits.data()}, {&b, kIds}};
  s.forward.run(items, nullptr);
  CHECK(s.machine.log == std::vector<std::string>{"begin 20", "layer 0 20 20", "layer 1 20 20",
                                                  "layer 2 20 20", "layer 3 20 1", "head 0 1",
                                                  "finish"});
  CHECK(a.length() == 10);
}

TEST_CASE("a cancel ends a run before the next layer or piece of the head, and undoes it",
          "[forward][cancel]") {
  for (const char* at : {"begin 10", "layer 2 10 10", "layer 3 10 10", "head 0 4", "head 4 4"}) {
    Stage s;
    kv::State a = s.state();
    const forward::Item item{&a, kIds, s.logits.data(), true};
    CancelFlag cancel;
    s.machine.then = [&](const std::string& what) {
      if (what == at) cancel.signal();
    };
    CAPTURE(at);
    CHECK_THROWS_AS(s.forward.run({&item, 1}, &cancel), Error);
    CHECK(s.machine.log[s.machine.log.size() - 2] == at);
    CHECK(s.machine.log.back() == "abandon");
    CHECK(a.length() == 0);
    cancel.reset();
    s.machine.then = nullptr;
    s.machine.log.clear();
    s.forward.run({&item, 1}, &cancel);
    CHECK(s.machine.log.size() == 1 + 4 + 3 + 1);
    CHECK(a.length() == 10);
  }
}

TEST_CASE("an error of the machine in any call leaves the states as they were", "[forward]") {
  for (const char* at : {"begin 10", "layer 1 10 10", "streams 0 10", "head 8 2", "finish"}) {
    Stage s;
    kv::State a = s.state();
    std::vector<float> hidden(10 * 4 * 256);
    const forward::Item item{&a, kIds, s.logits.data(), true, hidden.data()};
    s.machine.then = [&](const std::string& what) {
      if (what == at) fail(Code::kDevice, "the machine broke");
    };
    CAPTURE(at);
    CHECK_THROWS_AS(s.forward.run({&item, 1}, nullptr), Error);
    CHECK(a.length() == 0);
    s.machine.then = nullptr;
    s.forward.run({&item, 1}, nullptr);
    CHECK(a.length() == 10);
  }
}
