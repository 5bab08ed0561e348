// v4infer bench: what is measured (bench_runs.cc) and how it is told (bench_report.cc); --tiers
// is bench_tiers.cc.
//
// Every rate is a median of repetitions in one process, and what the machine can do
// is measured between them: a shared machine's memory gives twice as much in one
// second as in the next, so only shares of what was there at that moment compare.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common.h"
#include "peaks.h"

namespace cli {

struct BenchArgs {
  ModelArgs model;
  int prefill = 128, decode = 32, sessions = 1, repeat = 3;
  int context = 0;  // tokens before the decoded ones; 0 = prefill
  bool json = false, profile = false;
  bool tiers = false;  // bench_tiers() instead
  std::string svg;     // of tiers: a chart
};

// The repetitions of one measurement: rates, and each as a share of the peak that was
// measured before and after it.
struct Rates {
  std::vector<double> per_s, share;
};

struct BenchResult {
  Rates prefill, decode;                  // tokens/s; share of flop/s, of read bytes/s
  std::vector<double> open, first_token;  // seconds, of models opened afresh
  double prefill_flops = 0;               // of one prompt
  double first_token_bytes = 0;           // that the 16-token prompt must read
  Rates one, several;                     // step_many: tokens/s of 1 and of all sessions
  std::uint64_t anonymous_bytes = 0, resident_bytes = 0;  // peaks, without the read test
  Json profile;                                           // of v4i_session_timeline, or null
};

// How many ids from 0 on are text: all but, in V4.1, those from the one that stands for an image.
std::uint32_t text_tokens(const v4infer::Model& model);
// Token ids without a pattern; the same for the same seed.
v4infer::Tokens some_tokens(std::size_t n, std::uint32_t vocab, std::uint64_t seed = 1);
// Weights that one token behind `before` tokens reads: the indexer only chooses where
// there is more to see than it keeps.
std::uint64_t weight_bytes(const Json& description, std::uint64_t before);

class Bench {
 public:
  Bench(const BenchArgs& args, Peaks& peaks);
  BenchResult run();
  const Json& description() const { return description_; }
  const v4i_device_info& device() const { return device_; }

 private:
  void measure_prefill();
  void measure_decode();
  void measure_sessions();
  void measure_profile();
  void measure_opens();
  void note_memory();
  std::uint64_t new_prompt();
  v4infer::Session prompted(std::uint64_t seed, int tokens, bool timeline = false);
  double decode_slice(v4infer::Session& session, const v4i_token* tokens, int n);
  Rates step_rates(int sessions);

  const BenchArgs& args_;
  Peaks& peaks_;
  Opened opened_;
  std::uint32_t vocab_ = 0;
  Json description_;
  v4i_device_info device_;
  v4i_run_options run_;
  BenchResult out_;
};

void bench_tiers(const BenchArgs& args);  // CSV, or JSON

Json bench_json(const BenchArgs& args, const Bench& bench, const BenchResult& result,
                const Peaks& peaks);
void print_bench(const Json& report);

}  // namespace cli
