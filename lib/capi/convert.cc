// Conversions; see convert.h.
#include "lib/capi/convert.h"

namespace v4i::capi {

void refuse_extensions(const v4i_ext* next, const char* where) {
  if (next != nullptr)
    fail(Code::kUnsupported, "{}: extension type {} is not known here", where, next->type);
}

session::Progress progress_of(v4i_progress_fn fn, void* user, std::int32_t phase,
                              EngineState& engine) {
  if (fn == nullptr) return {};
  return [fn, user, phase, gate = &engine.gate](std::uint64_t done, std::uint64_t total) {
    bool stop = false;
    gate->run([&] { stop = fn(phase, done, total, user) != 0; });
    return stop;
  };
}

Run read_run_options(const v4i_run_options* o, EngineState& engine) {
  const v4i_run_options given = read_optional(o, "v4i_run_options");
  check_range(given.max_tokens_per_step, 0, 1024, "v4i_run_options.max_tokens_per_step");
  check_range(given.chunk_tokens, 0, 1 << 20, "v4i_run_options.chunk_tokens");
  check_zero(given.reserved0, "v4i_run_options.reserved0");
  Run run;
  if (given.cancel != nullptr) run.cancel = given.cancel->flag;
  run.options.cancel = run.cancel.get();
  run.options.progress =
      progress_of(given.progress, given.progress_user, V4I_PHASE_PREFILL, engine);
  run.options.chunk_tokens = given.chunk_tokens;
  run.options.max_tokens = std::max(given.max_tokens_per_step, 1);
  return run;
}

Run read_run_options(const v4i_run_options* o, SessionCall& call) {
  Run run = read_run_options(o, call.engine());
  CancelFlag& released = call.state().released;
  released.also(run.cancel.get());
  run.options.cancel = &released;
  return run;
}

}  // namespace v4i::capi
