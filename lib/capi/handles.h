// Handles: what the opaque pointers of v4infer.h point at.
//
// A handle is a box around a shared state, and a state holds its parent's:
// session -> model -> engine.  Releasing deletes the box, so the order of releases
// does not matter, and a call in flight keeps its own reference.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "include/v4infer/v4infer.h"
#include "lib/base/cancel.h"
#include "lib/capi/callbacks.h"
#include "lib/sampling/sampler.h"
#include "lib/session/context.h"
#include "lib/session/session.h"

namespace v4i::capi {

// After fork() the child has the memory but not the threads: nothing of an engine
// works there, not even its destructor.  So every call compares process ids.
std::int64_t process_id() noexcept;

struct EngineState {
  EngineState(const session::EngineOptions& options, const v4i_engine_options& host,
              std::shared_ptr<v4i_allocator> allocator);
  std::shared_ptr<v4i_allocator> host_allocator;  // outlives the engine that uses it
  std::shared_ptr<session::Engine> engine;
  std::int64_t process;
  Gate gate;
  Log log;
  Inside in_store;  // threads in a function of a KV store of the host
  // Stores of the host, for as long as somebody holds them.
  std::mutex stores_mutex;
  std::vector<std::weak_ptr<store::SharedStore>> host_stores;

  bool same_process() const noexcept { return process == process_id(); }
  void flush_log() { log.flush(gate); }
};

struct ModelState {
  std::shared_ptr<EngineState> engine;
  std::shared_ptr<session::Context> context;
};

// Who is inside a session.  The second thread is told BUSY.
class InUse {
 public:
  bool try_enter() noexcept;
  void leave() noexcept;
  bool mine() const noexcept { return owner_.load() == std::this_thread::get_id(); }
  // Waits until nobody is inside; at once when this thread is.
  void wait_idle() const noexcept;

 private:
  std::atomic<std::uint32_t> taken_{0};
  std::atomic<std::thread::id> owner_{};
};

struct SessionState {
  std::shared_ptr<ModelState> model;
  std::unique_ptr<session::Session> session;
  InUse in_use;
  // Set when the handle is released: ends the call that is inside, which frees the session.
  CancelFlag released;
};

// An exclusive call on a session: throws kBusy when another is running.
class SessionCall {
 public:
  explicit SessionCall(v4i_session* s);
  ~SessionCall();
  SessionCall(const SessionCall&) = delete;
  SessionCall& operator=(const SessionCall&) = delete;

  session::Session* operator->() const { return state_->session.get(); }
  session::Session& session() const { return *state_->session; }
  SessionState& state() const { return *state_; }
  ModelState& model() const { return *state_->model; }
  EngineState& engine() const { return *state_->model->engine; }

 protected:
  SessionCall(const v4i_session* s, bool reading);

 private:
  std::shared_ptr<SessionState> state_;
  bool entered_ = false;
};

// A call that only reads: also allowed inside a callback of that very session.
class SessionRead : public SessionCall {
 public:
  explicit SessionRead(const v4i_session* s) : SessionCall(s, true) {}
};

void check_process(const EngineState& engine);  // kState in a forked child
// Each throws kInvalid on NULL, kState in a forked child, and kBusy inside a function of a KV
// store.
void check_callable(const EngineState& engine);
EngineState& engine_of(const v4i_engine* e);
ModelState& model_of(const v4i_model* m);
const tokenizer::Tokenizer& tokenizer_of(const v4i_model* m);

template <class T>
T& not_null(T* p, const char* name) {
  if (p == nullptr) fail(Code::kInvalid, "{} is NULL", name);
  return *p;
}

}  // namespace v4i::capi

struct v4i_engine {
  std::shared_ptr<v4i::capi::EngineState> state;
};
struct v4i_model {
  std::shared_ptr<v4i::capi::ModelState> state;
};
struct v4i_session {
  std::shared_ptr<v4i::capi::SessionState> state;
};
struct v4i_sampler {
  std::shared_ptr<v4i::capi::ModelState> model;
  std::shared_ptr<v4i::sampling::Sampler> sampler;
};
struct v4i_kv_store {
  std::shared_ptr<v4i::capi::EngineState> engine;
  std::shared_ptr<v4i::store::SharedStore> shared;
  std::uint64_t capacity;  // 0: not known
  std::string folder;      // of a disk tier that may be written to; else empty
};
struct v4i_buffer {
  std::string bytes;
};
struct v4i_cancel {  // a call that was given the token holds it too
  std::shared_ptr<v4i::CancelFlag> flag;
};
