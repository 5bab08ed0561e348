// Decode at context frontiers: one token after the other behind 1,000 to a million
// tokens of made-up history, part by part.  The limit is memory: weights, KV rows and
// index keys of one token against the read test that runs between the tokens.
#include <algorithm>
#include <chrono>

#include "bench/support/whole.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::vector<std::int64_t> g_contexts = {1024, 4096, 16384, 65536, 262144, 1048576};
int g_tokens = 16;

constexpr int kSlice = 4;  // tokens between two read tests

bench::Measured at_context(session::Context& context, cli::Peaks& peaks, std::int64_t tokens,
                           int repeat) {
  const int count = std::max(g_tokens * repeat / kSlice * kSlice, kSlice);
  const std::int64_t most = context.context_max() - count;
  kv::State state(context.layout(), context.cache(), context.identity());
  bench::make_history(state, std::min(tokens, most), context.vocab(), 3);
  std::vector<float> logits(static_cast<std::size_t>(context.vocab()));
  const auto ids = bench::some_tokens(count, context.vocab(), 2);
  forward::Profile profile;
  std::vector<double> rates, shares;
  const auto step = [&](kv::State& to, int i, forward::Profile* into) {
    const forward::Item item{&to, {&ids[static_cast<std::size_t>(i)], 1}, logits.data()};
    context.forward().run({&item, 1}, nullptr, into);
  };
  kv::State warm = state.fork();  // the same tokens meet the same experts
  for (int i = 0; i < count; ++i) step(warm, i, nullptr);
  double before = peaks.read();
  const std::size_t first_read = peaks.reads().size() - 1;
  for (int i = 0; i < count; i += kSlice) {
    const double bytes_before = bench::sum(profile.decode().bytes);
    const auto start = Clock::now();
    for (int k = 0; k < kSlice; ++k) step(state, i + k, &profile);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double bytes = bench::sum(profile.decode().bytes) - bytes_before;
    const double after = peaks.read();
    rates.push_back(kSlice / seconds);
    shares.push_back(bytes / seconds / ((before + after) / 2));
    before = after;
  }
  const std::vector<double> reads(peaks.reads().begin() + static_cast<std::ptrdiff_t>(first_read),
                                  peaks.reads().end());
  return {"decode",           tokens,
          profile.decode(),   static_cast<double>(count),
          cli::median(rates), cli::median(reads),
          cli::median(shares)};
}

void decode(bench::Program& program) {
  const auto context = bench::open(program.options(), 256);
  cli::Peaks peaks(context->engine().pool().size());
  if (program.options().header) bench::print_header();
  for (const std::int64_t tokens : g_contexts)
    bench::print_rows(at_context(*context, peaks, tokens, program.options().repeat));
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("decode_bench", "decode behind long synthetic contexts, as CSV");
  program.app().add_option("--contexts", g_contexts, "tokens of history")->delimiter(',');
  program.app().add_option("--tokens", g_tokens, "decoded per repetition");
  return program.run(argc, argv, decode);
}
