// One answer; see answer.h.
#include "answer.h"

#include <cstdio>

#include "interrupt.h"

namespace cli {
namespace {

// Nothing is shown for what takes a blink.
constexpr std::uint64_t kBarTokens = 64;

std::int32_t draw_bar(std::int32_t, std::uint64_t done, std::uint64_t total, void*) {
  const bool live = stderr_is_terminal();  // else the full bar only, on a line that stays
  if (total < kBarTokens || (!live && done < total)) return 0;
  constexpr int kWidth = 40;
  const int full = static_cast<int>(done * kWidth / total);
  std::fprintf(stderr, "%s  prompt [%-*.*s] %llu/%llu%s", live ? "\r" : "", kWidth, full,
               "########################################", static_cast<unsigned long long>(done),
               static_cast<unsigned long long>(total), live ? "" : "\n");
  if (live && done >= total) std::fprintf(stderr, "\r%70s\r", "");
  std::fflush(stderr);
  return 0;
}

double rate(std::uint64_t tokens, std::uint64_t ns) {
  return ns == 0 ? 0 : static_cast<double>(tokens) * 1e9 / static_cast<double>(ns);
}

}  // namespace

Answer write_answer(v4infer::Session& session, const SampleArgs& args, bool bar,
                    const std::function<void(const v4i_step&)>& on_step) {
  Running running;
  Answer out;
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = running.token();
  if (bar) run.progress = draw_bar;
  run.max_tokens_per_step = args.drafts ? 16 : 1;
  std::vector<const char*> stop;
  for (const std::string& s : args.stop) stop.push_back(s.c_str());
  auto options = v4infer::init<v4i_generate_options>();
  options.run = &run;
  options.max_tokens = args.max_tokens;
  options.stop = stop.data();
  options.stop_count = stop.size();

  const v4i_session_metrics before = take(session.metrics());
  auto result = session.generate(
      options,
      [&](const v4i_step& step) {
        out.text.append(step.text, step.text_len);
        out.tokens += step.token_count;
        on_step(step);
        return false;
      },
      &out.finish);
  if (result.error().code() == V4I_E_CANCELLED)
    out.finish = V4I_FINISH_CANCELLED;
  else
    check(result.error());
  const v4i_session_metrics after = take(session.metrics());
  out.drafted = after.drafted - before.drafted;
  out.accepted = after.accepted - before.accepted;
  out.hits = hits_between(before, after);
  out.prefilled = after.prefill_tokens - before.prefill_tokens;
  out.prefill_tokens_per_s = rate(out.prefilled, after.prefill_ns - before.prefill_ns);
  out.decode_tokens_per_s =
      rate(after.decode_tokens - before.decode_tokens, after.decode_ns - before.decode_ns);
  return out;
}

std::string speed_text(const Answer& a) {
  char text[160];
  std::snprintf(text, sizeof text, "%llu tokens, %.1f tokens/s; prompt %llu tokens, %.1f tokens/s",
                static_cast<unsigned long long>(a.tokens), a.decode_tokens_per_s,
                static_cast<unsigned long long>(a.prefilled), a.prefill_tokens_per_s);
  if (a.drafted == 0) return text;
  return text + std::string("; ") + std::to_string(a.accepted) + " of " +
         std::to_string(a.drafted) + " guesses right";
}

Json speed_json(const Answer& a) {
  return Json{{"tokens", a.tokens},
              {"prompt_tokens", a.prefilled},
              {"decode_tokens_per_s", a.decode_tokens_per_s},
              {"prefill_tokens_per_s", a.prefill_tokens_per_s},
              {"drafted", a.drafted},
              {"accepted", a.accepted}};
}

}  // namespace cli
