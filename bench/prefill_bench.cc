// Prefill of prompts, part by part.  The limit is arithmetic: flops of the linears and
// of attention against a register-resident kernel that runs before and after.
#include <algorithm>
#include <chrono>

#include "bench/support/whole.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::vector<std::int64_t> g_prompts = {512, 2048};
std::int64_t g_chunk = 512;

// The prompt in chunks, as a session computes it; only the last one asks for logits.
void compute(session::Context& context, std::span<const std::int32_t> ids, float* logits,
             forward::Profile* profile) {
  kv::State state(context.layout(), context.cache(), context.identity());
  const auto chunk = static_cast<std::size_t>(g_chunk);
  for (std::size_t at = 0; at < ids.size(); at += chunk) {
    const auto part = ids.subspan(at, std::min(chunk, ids.size() - at));
    const bool last = at + part.size() == ids.size();
    const forward::Item item{&state, part, last ? logits : nullptr};
    context.forward().run({&item, 1}, nullptr, profile);
  }
}

bench::Measured prompt(session::Context& context, cli::Peaks& peaks, std::int64_t tokens,
                       int repeat) {
  const auto ids = bench::some_tokens(tokens, context.vocab(), 1);
  std::vector<float> logits(static_cast<std::size_t>(context.vocab()));
  forward::Profile profile;
  std::vector<double> rates, shares, reads;
  double before = peaks.flops();
  for (int i = 0; i < repeat; ++i) {
    const double flops_before = bench::sum(profile.prefill().flops);
    const auto start = Clock::now();
    compute(context, ids, logits.data(), &profile);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double after = peaks.flops();
    rates.push_back(static_cast<double>(tokens) / seconds);
    shares.push_back((bench::sum(profile.prefill().flops) - flops_before) / seconds /
                     std::max(before, after));  // nothing raises this peak, much lowers it
    reads.push_back(std::max(before, after));
    before = after;
  }
  return {"prefill",          tokens,
          profile.prefill(),  static_cast<double>(tokens * repeat),
          cli::median(rates), cli::median(reads),
          cli::median(shares)};
}

void prefill(bench::Program& program) {
  const auto context = bench::open(program.options(), static_cast<int>(g_chunk));
  cli::Peaks peaks(context->engine().pool().size());
  if (program.options().header) bench::print_header();
  const auto warm = bench::some_tokens(256, context->vocab(), 1);  // most experts of a layer
  std::vector<float> logits(static_cast<std::size_t>(context->vocab()));
  compute(*context, warm, logits.data(), nullptr);
  for (const std::int64_t tokens : g_prompts)
    bench::print_rows(prompt(*context, peaks, tokens, program.options().repeat));
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("prefill_bench", "prompts, as CSV");
  program.app().add_option("--prompts", g_prompts, "tokens")->delimiter(',');
  program.app().add_option("--chunk", g_chunk, "tokens of one forward run");
  return program.run(argc, argv, prefill);
}
