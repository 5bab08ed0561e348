// Handles: entering and leaving sessions, and the checks every call begins with.
#include "lib/capi/handles.h"

#include <unistd.h>

#include "lib/capi/boundary.h"

namespace v4i::capi {

std::int64_t process_id() noexcept { return ::getpid(); }

EngineState::EngineState(const session::EngineOptions& options, const v4i_engine_options& host,
                         std::shared_ptr<v4i_allocator> allocator)
    : host_allocator(std::move(allocator)),
      engine(std::make_shared<session::Engine>(options)),
      process(process_id()),
      log(host.log, host.log_user, host.log_level == 0 ? V4I_LOG_WARN : host.log_level) {}

bool InUse::try_enter() noexcept {
  if (taken_.exchange(1, std::memory_order_acquire) != 0) return false;
  owner_.store(std::this_thread::get_id());
  return true;
}

void InUse::leave() noexcept {
  owner_.store(std::thread::id{});
  taken_.store(0, std::memory_order_release);
  taken_.notify_all();
}

void InUse::wait_idle() const noexcept {
  if (mine()) return;
  while (taken_.load(std::memory_order_acquire) != 0) taken_.wait(1);
}

void check_process(const EngineState& engine) {
  if (!engine.same_process())
    fail(Code::kState,
         "this engine belongs to the parent process; create one in the child after fork()");
}

void check_callable(const EngineState& engine) {
  check_process(engine);
  if (engine.in_store.here())
    fail(Code::kBusy, "a function of a KV store called back into the library, which none may");
}

SessionCall::SessionCall(v4i_session* s) : SessionCall(s, false) {}

SessionCall::SessionCall(const v4i_session* s, bool reading)
    : state_(not_null(s, "the session").state) {
  check_callable(engine());
  if (state_->in_use.try_enter())
    entered_ = true;
  else if (!reading || !state_->in_use.mine())
    fail(Code::kBusy, "another call is running on this session");
}

SessionCall::~SessionCall() {
  if (!entered_) return;
  state_->in_use.leave();
  quiet([&] { engine().flush_log(); });
}

EngineState& engine_of(const v4i_engine* e) {
  EngineState& state = *not_null(e, "the engine").state;
  check_callable(state);
  return state;
}

ModelState& model_of(const v4i_model* m) {
  ModelState& state = *not_null(m, "the model").state;
  check_callable(*state.engine);
  return state;
}

const tokenizer::Tokenizer& tokenizer_of(const v4i_model* m) {
  return model_of(m).context->tokenizer();
}

}  // namespace v4i::capi
