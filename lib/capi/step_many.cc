// Section 8 of v4infer.h: one batched step over many sessions.
#include <memory>
#include <vector>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/capi/step.h"

namespace v4i::capi {
namespace {

// The sessions of one v4i_step_many(), entered as far as they were free.
struct Batch {
  std::vector<std::unique_ptr<SessionCall>> calls;
  std::vector<std::size_t> place;  // in the caller's arrays
  std::vector<session::Session*> sessions;
  std::vector<std::size_t> busy;
};

Batch enter(v4i_session* const* s, std::size_t n) {
  Batch batch;
  const ModelState* model = nullptr;
  for (std::size_t i = 0; i < n; ++i) {
    const v4i_session& handle = not_null(s[i], "a session");
    if (model == nullptr) model = handle.state->model.get();
    if (handle.state->model.get() != model)
      fail(Code::kInvalid, "session {} is of another model than session 0", i);
    for (std::size_t j = 0; j < i; ++j)
      if (s[j] == s[i]) fail(Code::kInvalid, "sessions {} and {} are the same", j, i);
    try {
      batch.calls.push_back(std::make_unique<SessionCall>(s[i]));
    } catch (const Error& e) {
      if (e.code() != Code::kBusy) throw;
      batch.busy.push_back(i);
      continue;
    }
    batch.place.push_back(i);
    batch.sessions.push_back(&batch.calls.back()->session());
  }
  return batch;
}

void step_batch(v4i_session* const* s, std::size_t n, const v4i_run_options* o, v4i_step* out,
                v4i_status* status) {
  not_null(s, "the session array");
  not_null(status, "status");
  const std::size_t stride = checked_size(out, "v4i_step");
  const Batch batch = enter(s, n);
  std::vector<session::Step> steps(batch.sessions.size());
  std::vector<Code> codes(batch.sessions.size(), Code::kOk);
  if (!batch.sessions.empty()) {
    EngineState& engine = batch.calls.front()->engine();
    const Run run = read_run_options(o, engine);
    std::vector<std::string> messages(batch.sessions.size());
    session::step_many(batch.sessions, run.options, steps, codes, &messages);
    for (std::size_t k = 0; k < codes.size(); ++k)
      if (codes[k] != Code::kOk)
        engine.log.add(V4I_LOG_WARN, "step_many",
                       fmt::format("session {}: {}", batch.place[k], messages[k]));
    engine.flush_log();
  }
  // From here on nothing fails: the caller's arrays are written whole or not at all.
  for (std::size_t i : batch.busy) status[i] = V4I_E_BUSY;
  for (std::size_t k = 0; k < steps.size(); ++k) {
    const std::size_t i = batch.place[k];
    status[i] = static_cast<v4i_status>(codes[k]);
    if (codes[k] == Code::kOk) fill_struct(step_struct(steps[k]), element(out, stride, i), stride);
  }
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i::capi;

extern "C" v4i_status v4i_step_many(v4i_session* const* s, size_t n, const v4i_run_options* o,
                                    v4i_step* out, v4i_status* status, v4i_error** err) {
  return guard(err, [&] {
    if (n > 0) step_batch(s, n, o, out, status);
  });
}
