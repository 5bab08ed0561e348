// What the commands share: failures, options, opening a model, output.
//
// The command uses include/v4infer only.  It is a program, so here exceptions and
// the process's own streams are fine: a Failure ends the command with exit code 1
// and its text on stderr.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <v4infer/kv_store.hpp>
#include <v4infer/session.hpp>
#include <vector>

namespace cli {

using Json = nlohmann::ordered_json;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(const v4infer::Error& e) {
  if (e) throw Failure(e.message());
}
template <class T>
T take(v4infer::Result<T> r) {
  check(r.error());
  return *std::move(r);
}

double seconds_since(std::chrono::steady_clock::time_point start);

// ---- where a model comes from
struct ModelArgs {
  std::string path;
  std::string mode = "native";
  std::string isa, backend;
  int threads = 0;
  std::uint64_t ram = 0, device_memory = 0;
  std::string disk;  // FOLDER[:BYTES]
  std::uint32_t context = 0;
  bool verify = false;
  bool verbose = false;
  bool replay = false;
};
void add_model_args(CLI::App& command, ModelArgs& args);
void add_session_args(CLI::App& command, ModelArgs& args);  // for commands that keep KV state

// With the threads and the instruction set that were asked for.
v4i_engine_options engine_options(const ModelArgs& args);

struct Opened {
  v4infer::Engine engine;
  v4infer::Model model;
  v4infer::KvStore disk;  // empty without --disk
  v4i_kv_store* tier = nullptr;
  bool replay = false;
  double seconds = 0;

  // Of sessions that use the disk, where there is one; valid while this object stays where it is.
  v4i_session_options session_options() const {
    auto o = v4infer::init<v4i_session_options>();
    o.tiers = &tier;
    o.tier_count = tier == nullptr ? 0 : 1;
    o.prefill = replay ? V4I_PREFILL_REPLAY : V4I_PREFILL_FULL;
    return o;
  }
};
Opened open_model(const ModelArgs& args);
v4i_numerics numerics_of(const std::string& mode);

// Of what was looked up between two looks at a session's metrics, the share that was in memory, 0
// to 1; none where nothing was looked up.
struct Hits {
  std::optional<double> kv, expert;
};
Hits hits_between(const v4i_session_metrics& before, const v4i_session_metrics& now);

// ---- how text is sampled
struct SampleArgs {
  v4i_sampler_options options = v4infer::init<v4i_sampler_options>();
  bool greedy = false;
  std::uint64_t seed = 0;
  int max_tokens = 0;
  bool drafts = false;
  std::vector<std::string> stop;
};
void add_sample_args(CLI::App& command, SampleArgs& args);
v4infer::Session new_session(const Opened& opened, const SampleArgs& args);

// ---- files and the terminal
std::string read_file(const std::string& path);  // "-" is stdin
std::vector<std::int32_t> read_ids(const std::string& path);
// Numbers are taken as they are written or refused; `what` is for the sentence.
std::int64_t whole_number(const Json& json, std::int64_t most, const std::string& what);
std::vector<std::int32_t> ids_of(const Json& list, const std::string& path);
bool stdout_is_terminal();
bool stderr_is_terminal();
std::string human_bytes(double bytes);
std::string finish_name(std::int32_t finish);
// A line of JSON on stdout, flushed: programs read it while we run.  Bytes that are
// not UTF-8 become U+FFFD.
void print_json(const Json& json);
void print_text(std::string_view text);

// ---- the commands; each registers itself and runs from its callback
void add_chat(CLI::App& app);
void add_run(CLI::App& app);
void add_eval(CLI::App& app);
void add_tokens(CLI::App& app);  // tokenize, detokenize, render
void add_inspect(CLI::App& app);
void add_plan(CLI::App& app);
void add_bench(CLI::App& app);

}  // namespace cli
