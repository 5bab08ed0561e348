// What the commands share; see common.h.
#include "common.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

namespace cli {

void add_model_args(CLI::App& command, ModelArgs& a) {
  command.add_option("model", a.path, "folder or .safetensors file of the model")->required();
  command
      .add_option("--mode", a.mode, "native (as trained), exact (float32) or fast (int8 products)")
      ->check(CLI::IsMember({"native", "exact", "fast"}));
  command.add_option("--threads", a.threads, "compute threads; 0 = physical cores")
      ->check(CLI::Range(0, 1024));
  command.add_option("--isa", a.isa,
                     "instruction set of the CPU: scalar, avx2, avx512; default the best");
  command.add_option("--backend", a.backend,
                     "cpu, or cuda:0 for the first NVIDIA GPU; default cpu");
  command.add_option("--ram", a.ram, "cap of the memory used besides the model's files, e.g. 4G")
      ->transform(CLI::AsSizeValue(false));
  command
      .add_option("--device-memory", a.device_memory,
                  "cap of the GPU's memory used, e.g. 20GiB; experts beyond it run on the CPU")
      ->transform(CLI::AsSizeValue(false));
  command
      .add_option("--context", a.context, "context size to plan for, in tokens, e.g. 4096 or 1M")
      ->transform(CLI::AsSizeValue(false));
  command.add_flag("--verify", a.verify, "read and check every tensor before starting");
  command.add_flag("-v,--verbose", a.verbose, "show the library's log on stderr");
}

void add_session_args(CLI::App& command, ModelArgs& a) {
  command
      .add_option("--disk", a.disk,
                  "FOLDER[:BYTES]: keep KV state there too, e.g. cache:100G; it may then leave "
                  "memory, and serves later runs")
      ->check([](const std::string& text) {
        return text.empty() || text[0] == ':' ? std::string("names no folder") : std::string();
      });
  command.add_flag("--replay", a.replay,
                   "of prompts, the first half of the layers and for the last tokens all of them; "
                   "DeepSeek-V4.1, about half the time, a slightly other text");
}

namespace {

std::uint64_t capacity_of(const std::string& text, std::string size) try {
  CLI::AsSizeValue(false)(size);  // now a number; throws
  return std::stoull(size);
} catch (const std::out_of_range&) {
  throw Failure("--disk " + text + ": the size is too large");
}

// FOLDER[:BYTES]: a size behind the last colon is the capacity, where it is not part of a path.
v4infer::KvStore open_disk(const v4infer::Engine& engine, const std::string& text) {
  auto o = v4infer::init<v4i_kv_disk_options>();
  std::string folder = text;
  const std::size_t colon = text.rfind(':');
  if (colon != std::string::npos && text.find('/', colon) == std::string::npos &&
      text.find_first_of("0123456789", colon) == colon + 1) {
    o.capacity_bytes = capacity_of(text, text.substr(colon + 1));
    folder = text.substr(0, colon);
  }
  return take(v4infer::KvStore::open_disk(engine, folder.c_str(), o));
}

void print_log(std::int32_t level, const char* component, const char* text, std::size_t len,
               void*) {
  const char* names[] = {"", "error", "warning", "info", "debug"};
  std::fprintf(stderr, "[%s] %s: %.*s\n", names[level], component, static_cast<int>(len), text);
}

}  // namespace

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

v4i_engine_options engine_options(const ModelArgs& a) {
  v4i_engine_options o = v4infer::Engine::options();
  o.thread_count = a.threads;
  o.force_isa = a.isa.empty() ? nullptr : a.isa.c_str();
  return o;
}

v4i_numerics numerics_of(const std::string& mode) {
  auto numerics = v4infer::init<v4i_numerics>();
  numerics.type = V4I_EXT_NUMERICS;
  numerics.mode = mode == "exact"  ? V4I_NUMERICS_EXACT
                  : mode == "fast" ? V4I_NUMERICS_FAST
                                   : V4I_NUMERICS_NATIVE;
  return numerics;
}

Opened open_model(const ModelArgs& a) {
  const auto start = std::chrono::steady_clock::now();
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = a.ram;
  budget.device_bytes = a.device_memory;
  v4i_engine_options engine = engine_options(a);
  engine.backend = a.backend.empty() ? nullptr : a.backend.c_str();
  engine.budget = &budget;
  engine.log = print_log;
  engine.log_level = a.verbose ? V4I_LOG_DEBUG : V4I_LOG_WARN;

  const v4i_numerics numerics = numerics_of(a.mode);
  auto options = v4infer::init<v4i_model_options>();
  options.next = reinterpret_cast<const v4i_ext*>(&numerics);
  options.context_hint = a.context;
  options.tiered = a.disk.empty() ? 0 : 1;
  options.verify_tensors = a.verify ? 1 : 0;

  Opened out;
  out.engine = take(v4infer::Engine::create(engine));
  out.model = take(v4infer::Model::open(out.engine, a.path.c_str(), options));
  if (!a.disk.empty()) out.disk = open_disk(out.engine, a.disk);
  out.tier = out.disk.get();
  out.replay = a.replay;
  out.seconds = seconds_since(start);
  return out;
}

Hits hits_between(const v4i_session_metrics& before, const v4i_session_metrics& now) {
  const auto rate = [](std::uint64_t loads, std::uint64_t uses) {
    return uses == 0 ? std::optional<double>()
                     : 1 - static_cast<double>(loads) / static_cast<double>(uses);
  };
  return {rate(now.kv_row_loads - before.kv_row_loads, now.kv_rows - before.kv_rows),
          rate(now.expert_loads - before.expert_loads, now.expert_uses - before.expert_uses)};
}

void add_sample_args(CLI::App& command, SampleArgs& a) {
  command.add_flag("--greedy", a.greedy, "always the most likely token");
  command.add_option("--temperature", a.options.temperature, "default 1");
  command.add_option("--top-p", a.options.top_p, "default off (1)");
  command.add_option("--top-k", a.options.top_k, "default off (-1)");
  command.add_option("--min-p", a.options.min_p, "default off (-1)");
  command.add_option("--repeat-penalty", a.options.repeat_penalty, "default off (1)");
  command.add_option("--repeat-window", a.options.repeat_window, "tokens, default 64");
  command.add_option("--seed", a.seed, "same seed, same text; default 0");
  command
      .add_option("--max-tokens", a.max_tokens, "end after this many; 0 = when the context is full")
      ->check(CLI::NonNegativeNumber);
  command.add_flag(
      "--drafts", a.drafts,
      "let the model's draft stages guess tokens, where that is faster; the same text");
  command.add_option("--stop", a.stop, "end before this text; may be given several times");
}

v4infer::Session new_session(const Opened& opened, const SampleArgs& a) {
  v4i_sampler_options options = a.options;
  options.greedy = a.greedy ? 1 : 0;
  v4i_session_options session_options = opened.session_options();
  session_options.seed = a.seed;
  v4infer::Session session = take(v4infer::Session::create(opened.model, session_options));
  check(session.set_sampler(take(v4infer::Sampler::create(opened.model, options))));
  return session;
}

std::string read_file(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Failure(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

std::int64_t whole_number(const Json& json, std::int64_t most, const std::string& what) {
  if (json.is_number_unsigned() && json.get<std::uint64_t>() <= static_cast<std::uint64_t>(most))
    return static_cast<std::int64_t>(json.get<std::uint64_t>());
  throw Failure(what + " is " + json.dump().substr(0, 40) + ", expected a whole number from 0 to " +
                std::to_string(most));
}

std::vector<std::int32_t> ids_of(const Json& list, const std::string& path) {
  if (!list.is_array()) throw Failure(path + ": ids are no array");
  std::vector<std::int32_t> out;
  for (const Json& id : list)
    out.push_back(static_cast<std::int32_t>(
        whole_number(id, INT32_MAX, path + ": id " + std::to_string(out.size()))));
  return out;
}

std::vector<std::int32_t> read_ids(const std::string& path) {
  try {
    const Json json = Json::parse(read_file(path));
    return ids_of(json.is_object() ? json.at("ids") : json, path);
  } catch (const Json::exception& e) {
    throw Failure(path +
                  ": holds no JSON array of token ids, nor an object with \"ids\": " + e.what());
  }
}

bool stdout_is_terminal() { return ::isatty(1) != 0; }
bool stderr_is_terminal() { return ::isatty(2) != 0; }

std::string human_bytes(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int u = 0;
  for (; bytes >= 1024 && u < 4; ++u) bytes /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, u == 0 ? "%.0f %s" : "%.2f %s", bytes, units[u]);
  return text;
}

std::string finish_name(std::int32_t finish) {
  switch (finish) {
    case V4I_FINISH_EOS:
      return "eos";
    case V4I_FINISH_STOP:
      return "stop";
    case V4I_FINISH_LENGTH:
      return "length";
    case V4I_FINISH_CANCELLED:
      return "cancelled";
    default:
      return "none";
  }
}

void print_json(const Json& json) {
  print_text(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) throw Failure("stdout: cannot be written");
}

}  // namespace cli
