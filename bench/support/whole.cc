// What the whole-model benches share; see whole.h.
#include "bench/support/whole.h"

#include <cstdio>
#include <exception>
#include <map>
#include <numeric>

namespace v4i::bench {

Program::Program(const char* name, const char* what) : app_(what, name) {
  app_.add_option("model", options_.model, "folder of the model")->required();
  app_.add_option("--isa", options_.isa, "instruction set; default the best");
  const std::map<std::string, forward::Numerics> modes = {{"native", forward::Numerics::kNative},
                                                          {"exact", forward::Numerics::kExact},
                                                          {"fast", forward::Numerics::kFast}};
  app_.add_option("--mode", options_.numerics, "numerics")
      ->transform(CLI::CheckedTransformer(modes));
  app_.add_option("--threads", options_.threads, "0 = physical cores");
  app_.add_option("--repeat", options_.repeat, "repetitions; medians are shown");
  app_.add_flag("!--no-header", options_.header, "rows only, to be appended");
}

int Program::run(int argc, char** argv, void (*body)(Program&)) {
  try {
    app_.parse(argc, argv);
    body(*this);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app_.exit(e);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", app_.get_name().c_str(), e.what());
    return 1;
  }
}

std::shared_ptr<session::Context> open(const Options& options, int max_batch_tokens,
                                       const ChangeOpen& change) {
  session::EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine_options.backend.isa = options.isa;
  auto engine = std::make_shared<session::Engine>(engine_options);
  session::OpenOptions open_options;
  open_options.path = options.model;
  open_options.numerics = options.numerics;
  open_options.max_batch_tokens = max_batch_tokens;
  if (change) change(*engine, open_options);
  return session::Context::open(std::move(engine), open_options);
}

std::vector<std::int32_t> some_tokens(std::int64_t n, std::int64_t vocab, std::uint64_t seed) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  for (std::int32_t& token : out) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    token = static_cast<std::int32_t>((seed >> 33) % static_cast<std::uint64_t>(vocab));
  }
  return out;
}

void print_header() { std::puts("bench,x,part,seconds,bytes,flops,rate,peak,share"); }

double sum(const model::PerPart<std::uint64_t>& v) {
  return static_cast<double>(std::accumulate(v.values.begin(), v.values.end(), std::uint64_t{0}));
}

void print_rows(const Measured& m) {
  const auto x = static_cast<long long>(m.x);
  std::printf("%s,%lld,all,%.9f,%.0f,%.0f,%.4f,%.6g,%.4f\n", m.bench, x,
              sum(m.totals.ns) / 1e9 / m.units, sum(m.totals.bytes) / m.units,
              sum(m.totals.flops) / m.units, m.rate, m.peak, m.share);
  for (int i = 0; i < model::kPartCount; ++i) {
    const auto part = static_cast<model::Part>(i);
    const auto per_unit = [&](std::uint64_t n) { return static_cast<double>(n) / m.units; };
    std::printf("%s,%lld,%s,%.9f,%.0f,%.0f,,,\n", m.bench, x, model::part_name(part),
                per_unit(m.totals.ns[part]) / 1e9, per_unit(m.totals.bytes[part]),
                per_unit(m.totals.flops[part]));
  }
  std::fflush(stdout);
}

}  // namespace v4i::bench
