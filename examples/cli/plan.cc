// v4infer plan: what would lie where, what fits, and what would help; nothing is opened.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "common.h"
#include "peaks.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  std::uint64_t disk = 0, memory_rate = 0, disk_rate = 0;
  std::uint32_t sessions = 1;
  bool json = false;
};

// What the machine has, and what the library says.
struct Planned {
  v4i_model_info model;
  v4i_model_plan plan;
  std::uint64_t machine_ram = 0, memory_rate = 0;
  std::uint32_t tokens = 0;
  bool measured = false;
};

std::string size(std::uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// As --ram and --disk take it, rounded up.
std::string option_size(std::uint64_t bytes) {
  constexpr std::uint64_t kKib = 1024, kMib = kKib * kKib;
  if (bytes >= 64 * kMib) return std::to_string((bytes + kMib - 1) / kMib) + "M";
  return std::to_string((bytes + kKib - 1) / kKib) + "K";
}

std::string row(const char* what, std::uint64_t bytes, const std::string& where) {
  char text[512];
  std::snprintf(text, sizeof text, "  %-32s %12s  %s\n", what, size(bytes).c_str(), where.c_str());
  return text;
}

v4infer::Engine engine_of(const Args& a, std::uint64_t ram, std::uint64_t disk) {
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = ram;
  budget.disk_bytes = disk;
  v4i_engine_options o = engine_options(a.model);
  o.budget = &budget;
  return take(v4infer::Engine::create(o));
}

std::uint64_t machine_ram(const v4infer::Engine& engine) {
  auto info = v4infer::init<v4i_device_info>();
  const std::size_t last = v4i_engine_device_count(engine.get()) - 1;
  return v4i_engine_device_info(engine.get(), last, &info, nullptr) == V4I_OK ? info.memory_total
                                                                              : 0;
}

std::uint64_t measure_memory(const Args& a) {
  const int all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Peaks peaks(a.model.threads > 0 ? a.model.threads : all);
  for (int i = 0; i < 5; ++i) peaks.read();
  return static_cast<std::uint64_t>(peaks.read_median());
}

v4i_model_plan plan_under(const Args& a, const v4infer::Engine& engine, std::uint64_t memory_rate,
                          bool tiered) {
  auto rates = v4infer::init<v4i_rates>();
  rates.type = V4I_EXT_RATES;
  rates.memory_bytes_per_s = static_cast<double>(memory_rate);
  rates.disk_bytes_per_s = static_cast<double>(a.disk_rate);
  v4i_numerics numerics = numerics_of(a.model.mode);
  numerics.next = reinterpret_cast<const v4i_ext*>(&rates);
  auto o = v4infer::init<v4i_model_options>();
  o.next = reinterpret_cast<const v4i_ext*>(&numerics);
  o.context_hint = a.model.context;
  o.session_hint = a.sessions;
  o.tiered = tiered ? 1 : 0;
  return take(v4infer::Model::plan(engine, a.model.path.c_str(), o));
}

// A cap under which it fits.  Experts keep more under a larger one, so its own plan is asked.
std::uint64_t ram_that_fits(const Args& a, std::uint64_t ram, bool tiered) {
  for (int tries = 0; tries < 20; ++tries) {
    const v4i_model_plan p = plan_under(a, engine_of(a, ram, 0), 0, tiered);
    if (p.fits != 0) break;
    ram = tiered ? p.host_bytes_tiered : p.host_bytes;
  }
  return ram;
}

Planned make_plan(const Args& a) {
  const v4infer::Engine engine = engine_of(a, a.model.ram, a.disk);
  Planned p;
  p.model = take(v4infer::Model::probe(engine, a.model.path.c_str()));
  if (a.model.context > p.model.context_max)
    throw Failure("--context " + std::to_string(a.model.context) + ": the model's most is " +
                  std::to_string(p.model.context_max));
  p.machine_ram = machine_ram(engine);
  p.measured = a.memory_rate == 0;
  p.memory_rate = p.measured ? measure_memory(a) : a.memory_rate;
  p.tokens = p.model.context_max;
  if (a.model.context != 0) p.tokens = std::min(p.tokens, a.model.context);
  p.plan = plan_under(a, engine, p.memory_rate, a.disk != 0);
  return p;
}

// Of the KV rows, those that leave memory: all that need not stay, where not all fit.
bool kv_in_memory(const Args& a, const v4i_model_plan& p) {
  return a.model.ram == 0 || p.host_bytes <= a.model.ram;
}

std::string experts_text(const v4i_model_plan& p) {
  const std::uint64_t all = std::uint64_t{p.experts_on_host} + p.experts_on_disk;
  const std::string of = std::to_string(p.experts_on_host) + " of " + std::to_string(all);
  if (p.experts_mapped == 0)
    return "in slots of --ram: room for " + of + ", the rest is read when it is used";
  return "in the mapped files: this machine has room for " + of;
}

std::string weights_text(const v4i_model_plan& p) {
  std::string out = "weights, in files of " + size(p.disk_bytes) + "\n";
  out += row("dense, read for every token", p.dense_bytes, "mapped; leave this free beside --ram");
  out += row("routed experts", p.expert_bytes, experts_text(p));
  if (p.experts_mapped == 0)
    out += row("  in memory", p.experts_on_host * p.slot_bytes, "counted in --ram");
  return out;
}

std::string memory_text(const Args& a, const Planned& planned) {
  const v4i_model_plan& p = planned.plan;
  const bool whole = kv_in_memory(a, p);
  std::string out = "memory for " + std::to_string(a.sessions) + " session(s) of " +
                    std::to_string(planned.tokens) + " tokens\n";
  out += row("workspace and logits", p.scratch_bytes, "memory");
  out += row("windows, recent tokens", p.kv_fixed_bytes, "memory");
  out += row("KV rows, index keys, token ids", p.kv_bytes,
             whole         ? "memory"
             : a.disk != 0 ? "partly on the disk"
                           : "memory: too much");
  out += row("  that have to be in memory", p.kv_tiered_bytes, "with --disk");
  if (a.disk != 0) out += row("  written to the disk", p.kv_disk_bytes, "of " + size(a.disk));
  if (p.slots_least_bytes > 0)
    out += row("experts' slots, at the least", p.slots_least_bytes, "memory");
  out += row("needed, all KV in memory", p.host_bytes, "");
  out += row("needed with a disk", p.host_bytes_tiered, "");
  return out;
}

std::string speed_text(const Args& a, const Planned& planned) {
  const v4i_model_plan& p = planned.plan;
  std::string out = "a token at the end of that context reads\n";
  out += row("from memory", p.token_memory_bytes,
             "at " + size(planned.memory_rate) + "/s" + (planned.measured ? ", measured" : ""));
  out += row("from the disk", p.token_disk_bytes,
             a.disk_rate != 0         ? "at " + size(a.disk_rate) + "/s"
             : p.token_disk_bytes > 0 ? "--disk-rate is not given"
                                      : "");
  char text[128];
  std::snprintf(text, sizeof text, "  estimate, nothing was run: %.3g tokens/s\n",
                p.decode_tokens_per_s_estimate);
  return out + (p.decode_tokens_per_s_estimate > 0 ? text : "  no estimate without both rates\n");
}

std::vector<std::string> help_texts(const Args& a, const Planned& planned) {
  const v4i_model_plan& p = planned.plan;
  std::vector<std::string> out;
  const bool disk_full = a.disk != 0 && p.kv_disk_bytes > a.disk && !kv_in_memory(a, p);
  if (p.fits == 0 && disk_full) out.push_back("--disk " + option_size(p.kv_disk_bytes));
  if (p.fits == 0 && a.disk == 0 && p.host_bytes_tiered <= a.model.ram)
    out.push_back("--disk " + option_size(p.kv_disk_bytes) + ", for KV rows");
  if (p.fits == 0 && p.host_bytes_tiered > a.model.ram)
    out.push_back("--ram " + option_size(ram_that_fits(a, p.host_bytes_tiered, true)) +
                  " or more, with --disk " + option_size(p.kv_disk_bytes));
  if (p.fits == 0) {
    out.push_back("--ram " + option_size(ram_that_fits(a, p.host_bytes, false)) +
                  " or more, without a disk");
    const std::uint32_t most = a.disk != 0 ? p.context_fitting_tiered : p.context_fitting;
    if (most > 0) out.push_back("--context " + std::to_string(most) + " or less");
  }
  const std::uint64_t wanted = p.dense_bytes + (a.model.ram != 0 ? a.model.ram : p.host_bytes);
  if (planned.machine_ram != 0 && wanted > planned.machine_ram)
    out.push_back("more memory, or less --ram: dense weights and --ram are " + size(wanted) +
                  ", the machine has " + size(planned.machine_ram));
  return out;
}

void print_table(const Args& a, const Planned& planned) {
  const v4i_model_plan& p = planned.plan;
  std::string out = a.model.path + "\n" + weights_text(p) + memory_text(a, planned);
  out += "context that fits\n  with all KV in memory  " + std::to_string(p.context_fitting) +
         " tokens\n  with a disk            " + std::to_string(p.context_fitting_tiered) +
         " tokens\n" + speed_text(a, planned);
  out += p.fits != 0 ? "fits: yes\n" : "fits: no\n";
  for (const std::string& text : help_texts(a, planned)) out += "  would help: " + text + "\n";
  print_text(out);
}

Json as_json(const Args& a, const Planned& planned) {
  const v4i_model_plan& p = planned.plan;
  return Json{{"path", a.model.path},
              {"tokens", planned.tokens},
              {"sessions", a.sessions},
              {"ram_bytes", a.model.ram},
              {"tier_bytes", a.disk},
              {"machine_ram_bytes", planned.machine_ram},
              {"fits", p.fits != 0},
              {"host_bytes", p.host_bytes},
              {"host_bytes_tiered", p.host_bytes_tiered},
              {"file_bytes", p.disk_bytes},
              {"dense_bytes", p.dense_bytes},
              {"expert_bytes", p.expert_bytes},
              {"experts_mapped", p.experts_mapped != 0},
              {"experts_in_memory", p.experts_on_host},
              {"experts_on_disk", p.experts_on_disk},
              {"slot_bytes", p.slot_bytes},
              {"slots_least_bytes", p.slots_least_bytes},
              {"scratch_bytes", p.scratch_bytes},
              {"kv_fixed_bytes", p.kv_fixed_bytes},
              {"kv_bytes", p.kv_bytes},
              {"kv_tiered_bytes", p.kv_tiered_bytes},
              {"kv_disk_bytes", p.kv_disk_bytes},
              {"context_fitting", p.context_fitting},
              {"context_fitting_tiered", p.context_fitting_tiered},
              {"token_memory_bytes", p.token_memory_bytes},
              {"token_disk_bytes", p.token_disk_bytes},
              {"memory_bytes_per_s", planned.memory_rate},
              {"memory_rate_measured", planned.measured},
              {"disk_bytes_per_s", a.disk_rate},
              {"decode_tokens_per_s_estimate", p.decode_tokens_per_s_estimate},
              {"would_help", help_texts(a, planned)}};
}

}  // namespace

void add_plan(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("plan", "what of a model fits, and where it would lie");
  add_model_args(*c, args->model);
  const auto bytes = [&](const char* name, std::uint64_t& to, const char* what) {
    c->add_option(name, to, what)->transform(CLI::AsSizeValue(false));
  };
  bytes("--disk", args->disk, "room for KV state on a disk, e.g. 100G; none without it");
  bytes("--memory-rate", args->memory_rate, "bytes a second from memory, e.g. 40G; else measured");
  bytes("--disk-rate", args->disk_rate, "bytes a second from the disk, e.g. 2G");
  c->add_option("--sessions", args->sessions, "that many at a time, default 1")
      ->check(CLI::Range(1, 1000000));
  c->add_flag("--json", args->json, "one JSON object on stdout");
  c->callback([args] {
    const Planned planned = make_plan(*args);
    if (args->json) return print_json(as_json(*args, planned));
    print_table(*args, planned);
  });
}

}  // namespace cli
