// Section 6 of v4infer.h: sessions, saving, restoring.
#include "lib/session/session.h"

#include <algorithm>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"

namespace v4i::capi {
namespace {

constexpr std::size_t kMaxTiers = 16;

session::Tiers tiers_of(const v4i_session_options& o, const EngineState& engine) {
  session::Tiers tiers;
  if (o.tier_count == 0) return tiers;
  if (o.tier_count > kMaxTiers)
    fail(Code::kInvalid, "v4i_session_options.tier_count is {}, allowed is 0 to {}", o.tier_count,
         kMaxTiers);
  not_null(o.tiers, "v4i_session_options.tiers");
  for (std::size_t i = 0; i < o.tier_count; ++i) {
    const v4i_kv_store* k = o.tiers[i];
    if (k == nullptr) fail(Code::kInvalid, "v4i_session_options.tiers[{}] is NULL", i);
    if (k->engine.get() != &engine)
      fail(Code::kInvalid, "v4i_session_options.tiers[{}] is a store of another engine", i);
    if (std::find(tiers.begin(), tiers.end(), k->shared) != tiers.end())
      fail(Code::kInvalid, "v4i_session_options.tiers[{}] is there twice", i);
    tiers.push_back(k->shared);
  }
  return tiers;
}

// The heat of experts is kept beside the KV blocks of the first disk tier.  No call fails for it.
void keep_heat(const v4i_session_options* given, session::Context& context) noexcept try {
  const v4i_session_options o = read_optional(given, "v4i_session_options");
  for (std::size_t i = 0; i < o.tier_count; ++i) {
    if (o.tiers[i]->folder.empty()) continue;
    return context.keep_heat_in(o.tiers[i]->folder);
  }
} catch (...) {
}

session::SessionOptions read_session_options(const v4i_session_options* given,
                                             const ModelState& model) {
  session::Context& context = *model.context;
  const v4i_session_options o = read_optional(given, "v4i_session_options");
  refuse_extensions(o.next, "v4i_session_options");
  check_range(o.context_size, 0, context.context_max(), "v4i_session_options.context_size");
  if (o.priority != 0)
    fail(Code::kUnsupported, "v4i_session_options.priority: this build schedules in call order");
  constexpr std::int32_t kTimeline = 4;
  if ((o.capture & ~kTimeline) != 0)
    fail(Code::kUnsupported, "v4i_session_options.capture: this build records timelines (4) only");
  check_range(o.restore, V4I_RESTORE_EXACT, V4I_RESTORE_RECOMPUTE, "v4i_session_options.restore");
  session::SessionOptions options;
  options.recompute = o.restore == V4I_RESTORE_RECOMPUTE;
  check_range(o.prefill, V4I_PREFILL_FULL, V4I_PREFILL_REPLAY, "v4i_session_options.prefill");
  options.replay = o.prefill == V4I_PREFILL_REPLAY;
  options.context_size = o.context_size;
  options.seed = o.seed;
  options.profile = o.capture == kTimeline;
  options.tiers = tiers_of(o, *model.engine);
  return options;
}

v4i_session* new_handle(std::shared_ptr<ModelState> model,
                        std::unique_ptr<session::Session> session) {
  auto state = std::make_shared<SessionState>();
  state->model = std::move(model);
  state->session = std::move(session);
  return new v4i_session{std::move(state)};
}

kv::WriteBytes writer_of(const v4i_writer& w, Gate& gate) {
  return [w, &gate](const void* data, std::size_t bytes) {
    v4i_status status = V4I_OK;
    gate.require([&] { status = w.write(data, bytes, w.user); });
    if (status != V4I_OK) fail(Code::kIo, "v4i_writer.write returned {}", status);
  };
}

kv::ReadBytes reader_of(const v4i_reader& r, Gate& gate) {
  return [r, &gate, total = std::uint64_t{0}](void* data, std::size_t bytes) mutable {
    std::size_t done = 0;
    while (done < bytes) {
      std::size_t got = 0;
      v4i_status status = V4I_OK;
      gate.require(
          [&] { status = r.read(static_cast<char*>(data) + done, bytes - done, &got, r.user); });
      if (status != V4I_OK) fail(Code::kIo, "v4i_reader.read returned {}", status);
      if (got > bytes - done)
        fail(Code::kInvalid, "v4i_reader.read gave {} bytes where {} were asked for", got,
             bytes - done);
      if (got == 0)
        fail(Code::kFormat, "the saved session ends after {} bytes, in the middle of its data",
             total);
      done += got;
      total += got;
    }
  };
}

v4i_session_info info_of(const session::Session& s) {
  auto info = zeroed<v4i_session_info>();
  info.finish = static_cast<std::int32_t>(s.finish());
  info.position = static_cast<std::uint64_t>(s.position());
  info.pending = static_cast<std::uint64_t>(s.pending());
  info.context_size = static_cast<std::uint64_t>(s.context_size());
  info.kv_host_bytes = s.kv_bytes();
  info.kv_store_bytes = s.stored_bytes();
  info.reused_tokens = s.reused_tokens();
  return info;
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_session_create(v4i_model* m, const v4i_session_options* o, v4i_session** out,
                              v4i_error** err) {
  return guard(err, [&] {
    ModelState& model = model_of(m);
    v4i_session*& to = not_null(out, "out");
    const auto options = read_session_options(o, model);
    to = new_handle(m->state, std::make_unique<session::Session>(model.context, options));
    keep_heat(o, *model.context);
  });
}

void v4i_session_release(v4i_session* s) {
  if (s == nullptr || !s->state->model->engine->same_process()) return;
  s->state->released.signal();
  delete s;
}

v4i_status v4i_session_fork(v4i_session* s, v4i_session** out, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    v4i_session*& to = not_null(out, "out");
    to = new_handle(call.state().model, call->fork());
  });
}

v4i_status v4i_session_save(v4i_session* s, const v4i_writer* w, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const v4i_writer writer = read_struct(w, "v4i_writer");
    if (writer.write == nullptr) fail(Code::kInvalid, "v4i_writer.write is NULL");
    call->save(writer_of(writer, call.engine().gate));
  });
}

v4i_status v4i_session_restore(v4i_model* m, const v4i_session_options* o, const v4i_reader* r,
                               v4i_session** out, v4i_error** err) {
  return guard(err, [&] {
    ModelState& model = model_of(m);
    v4i_session*& to = not_null(out, "out");
    const auto options = read_session_options(o, model);
    const v4i_reader reader = read_struct(r, "v4i_reader");
    if (reader.read == nullptr) fail(Code::kInvalid, "v4i_reader.read is NULL");
    to = new_handle(m->state, session::Session::restore(model.context, options,
                                                        reader_of(reader, model.engine->gate)));
    keep_heat(o, *model.context);
  });
}

v4i_status v4i_session_rewind(v4i_session* s, uint64_t position, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const auto count = call->tokens().size();
    if (position > count)
      fail(Code::kInvalid, "position is {}, allowed is 0 to {}", position, count);
    call->rewind(static_cast<std::int64_t>(position));
  });
}

v4i_status v4i_session_get_info(const v4i_session* s, v4i_session_info* out, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    write_struct(info_of(call.session()), out, "v4i_session_info");
  });
}

v4i_status v4i_session_tokens(const v4i_session* s, uint64_t first, v4i_token* out, size_t cap,
                              size_t* count, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    const std::span<const std::int32_t> all = call->tokens();
    if (first > all.size())
      fail(Code::kInvalid, "first is {}, allowed is 0 to {}", first, all.size());
    write_array(all.subspan(static_cast<std::size_t>(first)), out, cap, count);
  });
}

}  // extern "C"
