// The measurements of v4infer bench; see bench.h.
#include <algorithm>
#include <chrono>
#include <random>

#include "bench.h"
#include "interrupt.h"
#include "memory.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSliceTokens = 8;  // decoded between two read tests
constexpr int kFirstPrompt = 16;
constexpr int kSessionPrompt = 32;
constexpr std::int32_t kCaptureTimeline = 4;

Json timeline(const v4infer::Session& session) {
  return Json::parse(take(v4infer::detail::text([&](v4i_buffer** b, v4i_error** err) {
    return v4i_session_timeline(session.get(), V4I_FORMAT_JSON, b, err);
  })));
}

double sum_of(const char* what, const Json& kind) {
  double sum = 0;
  for (const auto& part : kind["parts"]) sum += part[what].get<double>();
  return sum;
}

}  // namespace

std::uint32_t text_tokens(const v4infer::Model& model) {
  const v4i_token image = model.special(V4I_SPECIAL_IMAGE);
  return image > 0 ? static_cast<std::uint32_t>(image) : take(model.info()).vocab_size;
}

v4infer::Tokens some_tokens(std::size_t n, std::uint32_t vocab, std::uint64_t seed) {
  v4infer::Tokens out;
  for (std::uint64_t x = seed; out.size() < n;) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<v4i_token>((x >> 33) % vocab));
  }
  return out;
}

std::uint64_t weight_bytes(const Json& d, std::uint64_t before) {
  const auto all = d["sizes"]["weight_bytes_per_token"].get<std::uint64_t>();
  const Json& parts = d["sizes"]["per_token"];
  if (!parts.contains("indexer")) return all;
  std::uint64_t visible = 0;
  for (const Json& layer : d["plan"]["layers"])
    if (layer["indexer"].get<bool>())
      visible = std::max(visible, (before + 1) / layer["ratio"].get<std::uint64_t>());
  const bool chooses = visible > d["config"]["index_topk"].get<std::uint64_t>();
  return chooses ? all : all - parts["indexer"]["bytes"].get<std::uint64_t>();
}

Bench::Bench(const BenchArgs& args, Peaks& peaks) : args_(args), peaks_(peaks) {
  ModelArgs model = args.model;
  model.verify |= args.sessions > 1;  // their steps meet new experts all the time
  opened_ = open_model(model);
  vocab_ = text_tokens(opened_.model);
  description_ = Json::parse(take(opened_.model.describe()));
  device_ = v4infer::init<v4i_device_info>();
  v4i_engine_device_info(opened_.engine.get(), 0, &device_, nullptr);
  run_ = v4infer::init<v4i_run_options>();
}

BenchResult Bench::run() {
  Running running;
  run_.cancel = running.token();
  measure_prefill();
  measure_decode();
  if (args_.sessions > 1) measure_sessions();
  if (args_.profile) measure_profile();
  out_.resident_bytes = memory_use().peak_resident - peaks_.buffer_bytes();
  measure_opens();
  return std::move(out_);
}

void Bench::note_memory() {
  const std::uint64_t now = memory_use().anonymous;
  out_.anonymous_bytes = std::max(out_.anonymous_bytes, now - std::min(now, peaks_.buffer_bytes()));
}

// The seed of a prompt to be computed whole: with a disk another one each time, since it would give
// back what it has seen.
std::uint64_t Bench::new_prompt() {
  if (!opened_.disk) return 1;
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

v4infer::Session Bench::prompted(std::uint64_t seed, int tokens, bool timeline) {
  v4i_session_options options = opened_.session_options();
  options.seed = seed;
  options.capture = timeline ? kCaptureTimeline : 0;
  v4infer::Session session = take(v4infer::Session::create(opened_.model, options));
  check(session.append(some_tokens(static_cast<std::size_t>(tokens), vocab_, seed)));
  check(session.prefill(run_));
  return session;
}

void Bench::measure_prefill() {
  // The first run warms up, weights are scanned, and says what a prompt multiplies.
  const v4infer::Session first = prompted(new_prompt(), args_.prefill, true);
  const double flops = sum_of("flops", timeline(first)[args_.prefill == 1 ? "decode" : "prefill"]);
  out_.prefill_flops = flops;
  double before = peaks_.flops();
  for (int i = 0; i < args_.repeat; ++i) {
    const std::uint64_t seed = new_prompt();
    const auto start = Clock::now();
    const v4infer::Session session = prompted(seed, args_.prefill);
    const double seconds = seconds_since(start);
    note_memory();
    const double after = peaks_.flops();
    out_.prefill.per_s.push_back(args_.prefill / seconds);
    // Nothing raises this peak, and another process on the machine lowers it.
    out_.prefill.share.push_back(flops / seconds / std::max(before, after));
    before = after;
  }
}

// One token after the other as sampling does it, without its randomness: the same
// experts are met in every repetition.
double Bench::decode_slice(v4infer::Session& session, const v4i_token* tokens, int n) {
  const auto start = Clock::now();
  for (int i = 0; i < n; ++i) {
    check(session.append({tokens[i]}));
    check(session.prefill(run_));
  }
  return seconds_since(start);
}

void Bench::measure_decode() {
  v4infer::Session base = prompted(1, std::max(args_.prefill, args_.context));
  const auto bytes = static_cast<double>(weight_bytes(
      description_, static_cast<std::uint64_t>(std::max(args_.prefill, args_.context))));
  const v4infer::Tokens tokens = some_tokens(static_cast<std::size_t>(args_.decode), vocab_, 2);
  for (int i = -1; i < args_.repeat; ++i) {  // the first only warms up
    v4infer::Session session = take(base.fork());
    double total = 0, before = peaks_.read();
    for (int at = 0; at < args_.decode; at += kSliceTokens) {
      const int n = std::min(kSliceTokens, args_.decode - at);
      const double seconds = decode_slice(session, tokens.data() + at, n);
      const double after = peaks_.read();
      if (i >= 0) out_.decode.share.push_back(n * bytes / seconds / ((before + after) / 2));
      total += seconds;
      before = after;
    }
    if (i >= 0) out_.decode.per_s.push_back(args_.decode / total);
    note_memory();
  }
}

Rates Bench::step_rates(int count) {
  std::vector<v4infer::Session> sessions;
  std::vector<v4i_session*> raw;
  for (int i = 0; i < count; ++i) {
    sessions.push_back(prompted(static_cast<std::uint64_t>(i) + 1, kSessionPrompt));
    raw.push_back(sessions.back().get());
  }
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  const auto step = [&] {
    check(v4infer::step_many(raw, steps, status, run_));
    for (v4i_status s : status)
      if (s != V4I_OK) throw Failure(std::string("step_many: ") + v4i_status_name(s));
  };
  Rates out;
  for (int i = -1; i < args_.repeat; ++i) {
    step();  // the first finds its logits computed
    const auto start = Clock::now();
    for (int k = 0; k < args_.decode; ++k) step();
    if (i >= 0) out.per_s.push_back(count * args_.decode / seconds_since(start));
  }
  note_memory();
  return out;
}

void Bench::measure_sessions() {
  out_.one = step_rates(1);
  out_.several = step_rates(args_.sessions);
}

void Bench::measure_profile() {
  auto start = Clock::now();
  v4infer::Session session = prompted(new_prompt(), args_.prefill, true);
  const double prefill = seconds_since(start);
  start = Clock::now();
  for (v4i_token t : some_tokens(static_cast<std::size_t>(args_.decode), vocab_, 2)) {
    check(session.append({t}));
    check(session.prefill(run_));
  }
  const double decode = seconds_since(start);
  out_.profile = timeline(session);
  out_.profile["prefill"]["wall_ns"] = static_cast<std::uint64_t>(1e9 * prefill);
  out_.profile["decode"]["wall_ns"] = static_cast<std::uint64_t>(1e9 * decode);
}

// Models opened afresh: the files are in the page cache, nothing else is ready.
void Bench::measure_opens() {
  v4infer::Session first = prompted(1, kFirstPrompt, true);
  out_.first_token_bytes = sum_of("bytes", timeline(first)["prefill"]);
  first = {};
  opened_ = {};
  for (int i = 0; i < args_.repeat; ++i) {
    const auto start = Clock::now();
    opened_ = open_model(args_.model);
    out_.open.push_back(seconds_since(start));
    v4infer::Session session =
        take(v4infer::Session::create(opened_.model, opened_.session_options()));
    check(session.append(some_tokens(kFirstPrompt, vocab_)));
    take(session.step(run_));
    out_.first_token.push_back(seconds_since(start));
    session = {};
    opened_ = {};
  }
}

}  // namespace cli
