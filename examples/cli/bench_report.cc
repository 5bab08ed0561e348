// What v4infer bench tells: one JSON object, or a page for people made from it.
#include <algorithm>
#include <cstdio>

#include "bench.h"

namespace cli {
namespace {

double smallest(const std::vector<double>& v) { return *std::min_element(v.begin(), v.end()); }
double largest(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }

void add_sessions(const BenchArgs& a, const BenchResult& r, Json* out) {
  if (a.sessions == 1) return;
  const double one = median(r.one.per_s), all = median(r.several.per_s);
  (*out)["sessions"] = a.sessions;
  (*out)["step_one_tokens_per_s"] = one;
  (*out)["step_all_tokens_per_s"] = all;
  (*out)["sessions_speedup"] = all / one;
}

// One line of the roofline table: what a token costs in a part.
void print_part(const char* name, const Json& p, double tokens, double total_ns) {
  const double ns = p["ns"].get<double>(), bytes = p["bytes"].get<double>();
  std::printf("  %-15s %9.2f %9.3f %6.1f%% %8.2f %9.1f\n", name, bytes / tokens / 1e6,
              ns / tokens / 1e6, 100 * ns / std::max(total_ns, 1.0), ns > 0 ? bytes / ns : 0.0,
              ns > 0 ? p["flops"].get<double>() / ns : 0.0);
}

void print_profile(const char* title, const Json& kind) {
  const double tokens = std::max(kind["tokens"].get<double>(), 1.0);
  const double total = kind["total_ns"].get<double>();
  std::printf("%s, per token\n  %-15s %9s %9s %7s %8s %9s\n", title, "part", "MB", "ms", "time",
              "GB/s", "GFLOP/s");
  Json sum{{"ns", total}, {"bytes", 0.0}, {"flops", 0.0}};
  for (const auto& [name, part] : kind["parts"].items()) {
    print_part(name.c_str(), part, tokens, total);
    for (const char* key : {"bytes", "flops"})
      sum[key] = sum[key].get<double>() + part[key].get<double>();
  }
  print_part("all", sum, tokens, total);
  const double idle = kind["idle_ns"].get<double>();
  std::printf("  %-15s %9s %9.3f %6.1f%%  of it a thread has no work\n", "idle", "",
              idle / tokens / 1e6, 100 * idle / std::max(total, 1.0));
}

}  // namespace

Json bench_json(const BenchArgs& a, const Bench& bench, const BenchResult& r, const Peaks& peaks) {
  const auto bytes = static_cast<double>(weight_bytes(
      bench.description(), static_cast<std::uint64_t>(std::max(a.prefill, a.context))));
  const double decode = median(r.decode.per_s), first = median(r.first_token);
  Json out{{"model", a.model.path},
           {"cpu", bench.device().name},
           {"isa", bench.device().arch},
           {"mode", a.model.mode},
           {"layers", bench.description()["config"]["layers"]},
           {"threads", peaks.threads()},
           {"repeat", a.repeat},
           {"prefill_tokens", a.prefill},
           {"decode_tokens", a.decode},
           {"context_tokens", std::max(a.prefill, a.context)},
           {"prefill_tokens_per_s", median(r.prefill.per_s)},
           {"prefill_flops_share", median(r.prefill.share)},
           {"prefill_flops_per_token", r.prefill_flops / a.prefill},
           {"decode_tokens_per_s", decode},
           {"decode_tokens_per_s_min", smallest(r.decode.per_s)},
           {"decode_tokens_per_s_max", largest(r.decode.per_s)},
           {"weight_bytes_per_token", static_cast<std::uint64_t>(bytes)},
           {"weight_bytes_per_s", decode * bytes},
           {"decode_bandwidth_share", median(r.decode.share)},
           {"read_bandwidth_bytes_per_s", peaks.read_median()},
           {"read_bandwidth_min", smallest(peaks.reads())},
           {"read_bandwidth_max", largest(peaks.reads())},
           {"bf16_peak_flops", peaks.flops_median()},
           {"peak_flops_kind", peaks.flops_kind()},
           {"open_seconds", median(r.open)},
           {"first_token_seconds", first},
           {"first_token_bytes", r.first_token_bytes},
           {"first_token_bound_share", r.first_token_bytes / peaks.read_median() / first},
           {"peak_rss_bytes", r.resident_bytes},
           {"peak_anonymous_bytes", r.anonymous_bytes}};
  add_sessions(a, r, &out);
  if (!r.profile.is_null()) out["profile"] = r.profile;
  return out;
}

void print_bench(const Json& r) {
  const auto number = [&](const char* key) { return r[key].get<double>(); };
  const auto bytes = [&](const char* key) { return human_bytes(number(key)); };
  std::printf("%s, %s kernels, %.0f threads; medians of %.0f\n",
              r["cpu"].get<std::string>().c_str(), r["isa"].get<std::string>().c_str(),
              number("threads"), number("repeat"));
  std::printf("  open     %.3f s; open to first token %.3f s (16 tokens), %.2f of it the bytes\n",
              number("open_seconds"), number("first_token_seconds"),
              number("first_token_bound_share"));
  std::printf("  prefill  %.2f tokens/s (%.0f tokens), %.2f of the peak\n",
              number("prefill_tokens_per_s"), number("prefill_tokens"),
              number("prefill_flops_share"));
  std::printf("  decode   %.2f tokens/s (%.2f to %.2f; %.0f tokens after %.0f)\n",
              number("decode_tokens_per_s"), number("decode_tokens_per_s_min"),
              number("decode_tokens_per_s_max"), number("decode_tokens"), number("context_tokens"));
  std::printf("  weights  %.1f MB per token, %.1f GB/s while decoding, %.2f of what memory gave\n",
              number("weight_bytes_per_token") / 1e6, number("weight_bytes_per_s") / 1e9,
              number("decode_bandwidth_share"));
  if (r.contains("sessions"))
    std::printf("  step     %.0f sessions %.2f tokens/s, one %.2f, ratio %.2f\n",
                number("sessions"), number("step_all_tokens_per_s"),
                number("step_one_tokens_per_s"), number("sessions_speedup"));
  std::printf("  memory   %s resident at most, %s without the model's files\n",
              bytes("peak_rss_bytes").c_str(), bytes("peak_anonymous_bytes").c_str());
  std::printf("  machine  reads %.1f GB/s (%.1f to %.1f), %.0f GFLOP/s (%s)\n",
              number("read_bandwidth_bytes_per_s") / 1e9, number("read_bandwidth_min") / 1e9,
              number("read_bandwidth_max") / 1e9, number("bf16_peak_flops") / 1e9,
              r["peak_flops_kind"].get<std::string>().c_str());
  if (!r.contains("profile")) return;
  print_profile("decode", r["profile"]["decode"]);
  print_profile("prefill", r["profile"]["prefill"]);
}

}  // namespace cli
