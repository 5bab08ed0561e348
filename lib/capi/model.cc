// Section 4 of v4infer.h: probing, planning, opening a model.
#include "lib/model/model.h"

#include <algorithm>
#include <vector>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/capi/model_info.h"
#include "lib/session/memory_plan.h"

namespace v4i::capi {
namespace {

struct Extensions {
  forward::Numerics numerics = forward::Numerics::kNative;
  double memory_bytes_per_s = 0, disk_bytes_per_s = 0;
};

void read_numerics(const v4i_ext* e, Extensions* out) {
  const auto n = read_struct(reinterpret_cast<const v4i_numerics*>(e), "v4i_numerics");
  check_range(n.mode, 0, V4I_NUMERICS_FAST, "v4i_numerics.mode");
  check_zero(n.reserved0, "v4i_numerics.reserved0");
  out->numerics = n.mode == V4I_NUMERICS_EXACT  ? forward::Numerics::kExact
                  : n.mode == V4I_NUMERICS_FAST ? forward::Numerics::kFast
                                                : forward::Numerics::kNative;
}

double rate(double value, const char* name) {
  if (!(value >= 0 && value < 1e18))
    fail(Code::kInvalid, "{} is {}, wanted is 0 (not known) or bytes in a second", name, value);
  return value;
}

void read_rates(const v4i_ext* e, Extensions* out) {
  const auto r = read_struct(reinterpret_cast<const v4i_rates*>(e), "v4i_rates");
  out->memory_bytes_per_s = rate(r.memory_bytes_per_s, "v4i_rates.memory_bytes_per_s");
  out->disk_bytes_per_s = rate(r.disk_bytes_per_s, "v4i_rates.disk_bytes_per_s");
}

Extensions read_extensions(const v4i_ext* e) {
  Extensions out;
  for (int count = 0; e != nullptr; e = e->next) {
    if (++count > 16) fail(Code::kInvalid, "v4i_model_options.next: the chain has no end");
    if (e->type == V4I_EXT_NUMERICS)
      read_numerics(e, &out);
    else if (e->type == V4I_EXT_RATES)
      read_rates(e, &out);
    else
      fail(Code::kUnsupported, "v4i_model_options.next: extension type {} is not known", e->type);
  }
  return out;
}

session::OpenOptions read_open_options(const v4i_model_options& o) {
  check_zero(o.reserved0, "v4i_model_options.reserved0");
  check_range(o.tiered, 0, 1, "v4i_model_options.tiered");
  check_range(o.verify_tensors, 0, 1, "v4i_model_options.verify_tensors");
  session::OpenOptions options;
  options.path = &not_null(o.path, "v4i_model_options.path");
  options.numerics = read_extensions(o.next).numerics;
  options.context_hint = o.context_hint;
  return options;
}

std::uint64_t sessions_of(const v4i_model_options& o) {
  return std::max<std::uint32_t>(o.session_hint, 1);
}

// A host that says what it will need is told at open when that cannot be.
void check_hints(session::Context& context, const v4i_model_options& o) {
  if (o.context_hint == 0 && o.session_hint == 0) return;
  const Budget& budget = context.engine().budget();
  if (budget.cap() == Budget::kNoCap) return;
  const auto tokens = static_cast<std::uint64_t>(context.context_max());
  const session::SessionNeeds needs =
      session::session_needs(*context.layout(), static_cast<std::uint64_t>(context.vocab()), tokens,
                             sessions_of(o), context.forward().options().max_tokens);
  const std::uint64_t need = o.tiered != 0 ? needs.least() : needs.in_memory();
  const std::uint64_t free = budget.cap() - std::min(budget.cap(), budget.used());
  if (need > free)
    fail(Code::kNoMemory, "{} session(s) of {} tokens need {} bytes{}, the host budget has {} left",
         sessions_of(o), tokens, need, o.tiered != 0 ? " besides what a tier keeps" : "", free);
}

// Reads every tensor, so that a damaged one is named now.
void verify_tensors(session::Context& context, const session::Progress& progress,
                    const CancelFlag* cancel) {
  const model::Model& m = context.model();
  ThreadPool& pool = context.engine().pool();
  session::Turn turn(context.engine().compute_lock(), cancel);
  const auto layers = static_cast<std::uint64_t>(m.config().layers);
  m.touch_all(pool, [&](int done) {
    throw_if_cancelled(cancel);
    const std::uint64_t all = m.tensor_bytes(), share = all / layers;
    if (done > 0 && progress && progress(share * static_cast<std::uint64_t>(done), all))
      throw Error(Code::kCancelled, "cancelled by the progress callback");
  });
}

std::shared_ptr<session::Context> open_context(EngineState& engine, const v4i_model_options& o) {
  session::OpenOptions options = read_open_options(o);
  std::shared_ptr<CancelFlag> cancel;
  if (o.cancel != nullptr) cancel = o.cancel->flag;
  const session::Progress progress =
      progress_of(o.progress, o.progress_user, V4I_PHASE_READ, engine);
  throw_if_cancelled(cancel.get());
  // The engine's state outlives every context: who holds one holds a ModelState.
  options.log = [&engine](const std::string& text) { engine.log.add(V4I_LOG_WARN, "model", text); };
  auto context = session::Context::open(engine.engine, options);
  check_hints(*context, o);
  if (o.verify_tensors != 0) verify_tensors(*context, progress, cancel.get());
  const std::uint64_t all = context->model().tensor_bytes();
  if (progress && progress(all, all))
    throw Error(Code::kCancelled, "cancelled by the progress callback");
  return context;
}

v4i_model_plan plan_open(EngineState& engine, const v4i_model_options& o) {
  session::PlanOptions options;
  options.open = read_open_options(o);
  options.sessions = sessions_of(o);
  options.tiered = o.tiered != 0;
  const Extensions extensions = read_extensions(o.next);
  options.memory_bytes_per_s = extensions.memory_bytes_per_s;
  options.disk_bytes_per_s = extensions.disk_bytes_per_s;
  const session::MemoryPlan p = session::plan_memory(*engine.engine, options);
  const session::SessionNeeds& s = p.sessions;
  auto plan = zeroed<v4i_model_plan>();
  plan.fits = (options.tiered ? p.fits_tiered : p.fits) ? 1 : 0;
  plan.host_bytes = p.host_bytes();
  plan.host_bytes_tiered = p.host_bytes_tiered();
  plan.disk_bytes = p.file_bytes;
  plan.experts_on_host = static_cast<std::uint32_t>(p.experts_in_memory);
  plan.experts_on_disk = static_cast<std::uint32_t>(p.experts - p.experts_in_memory);
  plan.context_fitting = static_cast<std::uint32_t>(p.context_fitting);
  plan.context_fitting_tiered = static_cast<std::uint32_t>(p.context_fitting_tiered);
  plan.decode_tokens_per_s_estimate = p.tokens_per_s;
  plan.experts_mapped = p.experts_mapped ? 1 : 0;
  plan.dense_bytes = p.dense_bytes;
  plan.expert_bytes = p.expert_bytes;
  plan.slot_bytes = p.slot_bytes;
  plan.slots_least_bytes = p.slots_least();
  plan.scratch_bytes = p.workspace + s.logits;
  plan.kv_fixed_bytes = s.kv.fixed;
  plan.kv_bytes = s.kv.rows;
  plan.kv_tiered_bytes = s.least() - s.logits - s.kv.fixed;
  plan.kv_disk_bytes = s.kv.stored;
  plan.token_memory_bytes = p.token_memory_bytes;
  plan.token_disk_bytes = p.token_disk_bytes;
  return plan;
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_model_probe(v4i_engine* e, const char* path, v4i_model_info* out, v4i_error** err) {
  return guard(err, [&] {
    engine_of(e);
    const auto m = model::Model::open(&not_null(path, "path"));
    write_struct(model_info(*m), out, "v4i_model_info");
  });
}

v4i_status v4i_model_plan_open(v4i_engine* e, const v4i_model_options* o, v4i_model_plan* out,
                               v4i_error** err) {
  return guard(err, [&] {
    const auto options = read_struct(o, "v4i_model_options");
    write_struct(plan_open(engine_of(e), options), out, "v4i_model_plan");
  });
}

v4i_status v4i_model_open(v4i_engine* e, const v4i_model_options* o, v4i_model** out,
                          v4i_error** err) {
  return guard(err, [&] {
    EngineState& engine = engine_of(e);
    const auto options = read_struct(o, "v4i_model_options");
    v4i_model*& to = not_null(out, "out");
    auto state = std::make_shared<ModelState>();
    state->engine = e->state;
    state->context = open_context(engine, options);
    auto handle = std::make_unique<v4i_model>(v4i_model{std::move(state)});
    const model::Model& m = handle->state->context->model();
    engine.log.add(V4I_LOG_INFO, "model",
                   fmt::format("opened {}: {} tensors, {} bytes", m.path(),
                               m.checkpoint().tensors().size(), m.tensor_bytes()));
    engine.flush_log();
    to = handle.release();
  });
}

void v4i_model_release(v4i_model* m) {
  if (m != nullptr && m->state->engine->same_process()) delete m;
}

v4i_status v4i_model_get_info(const v4i_model* m, v4i_model_info* out, v4i_error** err) {
  return guard(
      err, [&] { write_struct(model_info(model_of(m).context->model()), out, "v4i_model_info"); });
}

v4i_status v4i_model_describe(const v4i_model* m, uint32_t flags, v4i_buffer** json,
                              v4i_error** err) {
  return guard(err, [&] {
    ModelState& state = model_of(m);
    if ((flags & ~V4I_DESCRIBE_TENSORS) != 0)
      fail(Code::kInvalid, "v4i_model_describe: flags {:#x} are not known", flags);
    write_buffer(describe_model(*state.context, flags), json, "json");
  });
}

}  // extern "C"
