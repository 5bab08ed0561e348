// What the whole-model benches share: options, an opened model, made-up history, rows
// of CSV.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "examples/cli/peaks.h"
#include "lib/forward/profile.h"
#include "lib/kv/state.h"
#include "lib/session/context.h"

namespace v4i::bench {

struct Options {
  std::string model, isa;
  forward::Numerics numerics = forward::Numerics::kNative;
  int threads = 0;  // 0 = physical cores
  int repeat = 3;
  bool header = true;
};

// Adds the common options; parses; throws CLI::ParseError.
class Program {
 public:
  Program(const char* name, const char* what);
  CLI::App& app() { return app_; }
  const Options& options() const { return options_; }
  // Runs `body` after parsing; the exit code of main().
  int run(int argc, char** argv, void (*body)(Program&));

 private:
  CLI::App app_;
  Options options_;
};

// `change` may set more before the model is opened.
using ChangeOpen = std::function<void(session::Engine&, session::OpenOptions&)>;
std::shared_ptr<session::Context> open(const Options& options, int max_batch_tokens,
                                       const ChangeOpen& change = {});

std::vector<std::int32_t> some_tokens(std::int64_t n, std::int64_t vocab, std::uint64_t seed);

// Gives an empty `state` `length` tokens of history: rows of valid, random codes and
// random tokens.  A million tokens take seconds, where computing them takes hours.
void make_history(kv::State& state, std::int64_t length, std::int64_t vocab, std::uint64_t seed);

// One measurement: the totals of `units` tokens (or steps) and the rate of the whole.
struct Measured {
  const char* bench;
  std::int64_t x;  // context, prompt length, sessions
  forward::Profile::Totals totals;
  double units;
  double rate;   // tokens/s, median
  double peak;   // bytes/s or flop/s that the machine gave meanwhile, median
  double share;  // of it that was used, median
};

// CSV: bench,x,part,seconds,bytes,flops,rate,peak,share; per unit; part "all" has the
// rate, the others leave it empty.
void print_header();
void print_rows(const Measured& m);
double sum(const model::PerPart<std::uint64_t>& values);

}  // namespace v4i::bench
