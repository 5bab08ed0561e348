// From an opened model to the first token, part by part: the first run on fresh pages beside the
// same run once more.  The limit is memory: the bytes that the prompt must read.
#include <chrono>

#include "bench/support/whole.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::int64_t g_prompt = 16;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Runs {
  forward::Profile profile;
  std::vector<double> rates, shares, reads;

  void add(double seconds, double bytes, double read) {
    rates.push_back(static_cast<double>(g_prompt) / seconds);
    shares.push_back(bytes / seconds / read);
    reads.push_back(read);
  }
  void print(const char* name, int repeat) {
    bench::print_rows({name, g_prompt, profile.prefill(), static_cast<double>(repeat),
                       cli::median(rates), cli::median(reads), cli::median(shares)});
  }
};

// Opens the model and computes the prompt twice; `open` seconds of the first belong to opening.
void once(const bench::Options& options, cli::Peaks& peaks, Runs* runs,
          std::vector<double>* opens) {
  double before_read = peaks.read();
  const auto start = Clock::now();
  const auto context = bench::open(options, 512);
  opens->push_back(seconds_since(start));
  const auto ids = bench::some_tokens(g_prompt, context->vocab(), 1);
  std::vector<float> logits(static_cast<std::size_t>(context->vocab()));
  for (int i = 0; i < 2; ++i) {
    const double before = bench::sum(runs[i].profile.prefill().bytes);
    const auto begin = Clock::now();
    kv::State state(context->layout(), context->cache(), context->identity());
    const forward::Item item{&state, ids, logits.data()};
    context->forward().run({&item, 1}, nullptr, &runs[i].profile);
    const double seconds = seconds_since(i == 0 ? start : begin);
    const double after_read = peaks.read();
    runs[i].add(seconds, bench::sum(runs[i].profile.prefill().bytes) - before,
                (before_read + after_read) / 2);
    before_read = after_read;
  }
}

void start(bench::Program& program) {
  Runs runs[2];
  std::vector<double> opens;
  cli::Peaks peaks(bench::open(program.options(), 512)->engine().pool().size());
  for (int i = 0; i < program.options().repeat; ++i) once(program.options(), peaks, runs, &opens);
  if (program.options().header) bench::print_header();
  runs[0].print("first", program.options().repeat);
  runs[1].print("again", program.options().repeat);
  std::printf("open,%lld,all,%.9f,,,,,\n", static_cast<long long>(g_prompt), cli::median(opens));
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("start_bench", "open to first token, as CSV");
  program.app().add_option("--prompt", g_prompt, "tokens");
  return program.run(argc, argv, start);
}
