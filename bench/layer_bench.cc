// What one layer costs: two models that differ in layers only (compare/first_layers.py)
// decode in turns in one process, a few tokens each, so that both meet the machine in
// the same moods.  CSV: the median of each, and of the paired differences per layer.
#include <chrono>
#include <cstdio>

#include "bench/support/whole.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

constexpr int kTokens = 4;  // of a turn
std::string g_fewer;

class Turns {
 public:
  explicit Turns(const bench::Options& options)
      : context_(bench::open(options, 16)),
        state_(context_->layout(), context_->cache(), context_->identity()),
        ids_(bench::some_tokens(kTokens, context_->vocab(), 2)),
        logits_(static_cast<std::size_t>(context_->vocab())) {}

  double seconds() {  // per token
    const auto start = Clock::now();
    for (const std::int32_t& id : ids_) {
      const forward::Item item{&state_, {&id, 1}, logits_.data()};
      context_->forward().run({&item, 1}, nullptr);
    }
    return std::chrono::duration<double>(Clock::now() - start).count() / kTokens;
  }
  std::int64_t layers() const { return context_->model().config().layers; }
  double bytes() const {
    double out = 0;
    for (const model::Cost& c : model::token_costs(context_->model()).values)
      out += static_cast<double>(c.bytes);
    return out -
           static_cast<double>(model::token_costs(context_->model())[model::Part::kIndexer].bytes);
  }

 private:
  std::shared_ptr<session::Context> context_;
  kv::State state_;
  std::vector<std::int32_t> ids_;
  std::vector<float> logits_;
};

void layer(bench::Program& program) {
  bench::Options options = program.options();
  Turns more(options);
  options.model = g_fewer;
  Turns fewer(options);
  const auto layers = static_cast<double>(more.layers() - fewer.layers());
  std::vector<double> slow, fast, difference;
  for (int i = -2; i < 12 * options.repeat; ++i) {
    const double a = fewer.seconds(), b = more.seconds(), c = fewer.seconds();
    if (i < 0) continue;
    slow.push_back(b);
    fast.push_back((a + c) / 2);
    difference.push_back((b - fast.back()) / layers);
  }
  std::puts("layers,seconds,bytes");
  std::printf("%d,%.6f,%.0f\n", static_cast<int>(fewer.layers()), cli::median(fast), fewer.bytes());
  std::printf("%d,%.6f,%.0f\n", static_cast<int>(more.layers()), cli::median(slow), more.bytes());
  std::printf("one,%.6f,%.0f\n", cli::median(difference), (more.bytes() - fewer.bytes()) / layers);
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("layer_bench", "the cost of a layer, as CSV");
  program.app().add_option("fewer", g_fewer, "the same model with fewer layers")->required();
  return program.run(argc, argv, layer);
}
