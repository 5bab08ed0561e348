// Several sessions stepped together (step_many), 1 to 16.  The limit is memory: dense
// weights are read once for all, routed experts once per distinct expert.
#include <chrono>

#include "bench/support/whole.h"
#include "lib/base/error.h"
#include "lib/session/session.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::vector<std::int64_t> g_sessions = {1, 2, 4, 8, 16};
int g_steps = 8;

constexpr std::int64_t kPrompt = 32;

using Sessions = std::vector<std::unique_ptr<session::Session>>;

Sessions prompted(const std::shared_ptr<session::Context>& context, std::int64_t n) {
  Sessions out;
  for (std::int64_t i = 0; i < n; ++i) {
    session::SessionOptions options;
    options.context_size = 4096;
    options.seed = static_cast<std::uint64_t>(i) + 1;
    options.profile = true;
    out.push_back(std::make_unique<session::Session>(context, options));
    out.back()->append(bench::some_tokens(kPrompt, context->vocab(), options.seed));
  }
  return out;
}

bench::Measured together(const std::shared_ptr<session::Context>& context, cli::Peaks& peaks,
                         std::int64_t n, int repeat) {
  const Sessions sessions = prompted(context, n);
  std::vector<session::Session*> raw;
  for (const auto& s : sessions) raw.push_back(s.get());
  std::vector<session::Step> steps(raw.size());
  std::vector<Code> status(raw.size());
  const auto step = [&] {
    session::step_many(raw, {}, steps, status, nullptr);
    for (const Code code : status)
      if (code != Code::kOk) fail(code, "a session did not step");
  };
  for (int i = 0; i < 4; ++i) step();  // prompts, first experts
  const forward::Profile::Totals warm = raw[0]->profile()->decode();
  std::vector<double> rates, shares, reads = {peaks.read()};
  for (int i = 0; i < repeat; ++i) {
    const double bytes_before = bench::sum(raw[0]->profile()->decode().bytes);
    const auto start = Clock::now();
    for (int k = 0; k < g_steps; ++k) step();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double bytes = bench::sum(raw[0]->profile()->decode().bytes) - bytes_before;
    reads.push_back(peaks.read());
    const double read = (reads[reads.size() - 2] + reads.back()) / 2;
    rates.push_back(static_cast<double>(n * g_steps) / seconds);
    shares.push_back(bytes / seconds / read);
  }
  forward::Profile::Totals totals = raw[0]->profile()->decode();
  for (std::size_t p = 0; p < model::kPartCount; ++p) {
    totals.ns.values[p] -= warm.ns.values[p];
    totals.bytes.values[p] -= warm.bytes.values[p];
    totals.flops.values[p] -= warm.flops.values[p];
  }
  return {"batch",
          n,
          totals,
          static_cast<double>(g_steps * repeat),
          cli::median(rates),
          cli::median(reads),
          cli::median(shares)};
}

void batch(bench::Program& program) {
  const auto context = bench::open(program.options(), 256);
  cli::Peaks peaks(context->engine().pool().size());
  if (program.options().header) bench::print_header();
  context->model().touch_all(context->engine().pool());  // every step meets new experts
  for (const std::int64_t n : g_sessions)
    bench::print_rows(together(context, peaks, n, program.options().repeat));
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("batch_bench", "sessions stepped together, as CSV, per step");
  program.app().add_option("--sessions", g_sessions, "how many")->delimiter(',');
  program.app().add_option("--steps", g_steps, "per repetition");
  return program.run(argc, argv, batch);
}
