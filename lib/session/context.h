// Engine and Context: what sessions share.
//
//   Engine   threads, kernels, memory budget, log; one per v4i_engine
//   Context  an opened model with its tokenizer, forward pass and block store; one
//            per v4i_model
//
// Any thread, except where a member says otherwise.  A Context keeps its Engine
// alive, a Session keeps its Context.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/forward.h"
#include "lib/model/model.h"
#include "lib/store/tier_stack.h"
#include "lib/tokenizer/tokenizer.h"

namespace v4i::session {

struct EngineOptions {
  int threads = 0;       // 0 = physical cores
  std::string isa;       // empty = best; "scalar", "avx2", "avx512"
  std::uint64_t host_bytes = 0;  // 0 or ~0 = no cap
  HostAllocator allocator;
};

class Engine {
 public:
  explicit Engine(const EngineOptions& options);

  Budget& budget() { return budget_; }
  ThreadPool& pool() { return pool_; }
  const kernels::KernelTable& kernels() const { return *kernels_; }
  // The pool runs one thing at a time: whoever computes holds this.
  std::timed_mutex& compute_lock() { return compute_lock_; }

 private:
  Budget budget_;
  ThreadPool pool_;
  const kernels::KernelTable* kernels_;
  std::timed_mutex compute_lock_;
};

struct OpenOptions {
  std::string path;
  forward::Numerics numerics = forward::Numerics::kNative;
  std::int64_t context_hint = 0;  // tokens; 0 = the model's maximum
  int max_batch_tokens = 256;     // of one forward run
};

class Context {
 public:
  // tokenizer.json is looked for in the model's folder; a model without one opens,
  // and text functions say what is missing (tokenizer() throws kUnsupported).
  static std::shared_ptr<Context> open(std::shared_ptr<Engine> engine, const OpenOptions& options);

  Engine& engine() { return *engine_; }
  const model::Model& model() const { return *model_; }
  const tokenizer::Tokenizer& tokenizer() const;
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  forward::Forward& forward() { return *forward_; }  // under the engine's compute lock
  store::TierStack& store() { return store_; }
  std::int64_t context_max() const { return context_max_; }
  // Names model, numerics and kernels: the seed of block keys and saved sessions.
  const Digest& identity() const { return identity_; }

 private:
  Context(std::shared_ptr<Engine> engine, const OpenOptions& options);
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const model::Model> model_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  store::TierStack store_;
  std::unique_ptr<forward::Forward> forward_;
  std::int64_t context_max_ = 0;
  Digest identity_{};
};

}  // namespace v4i::session
