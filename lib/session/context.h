// Engine and Context: what sessions share.
//
//   Engine   threads, backend, memory budget; one per v4i_engine
//   Context  an opened model with its tokenizer, forward pass and block caches; one
//            per v4i_model
//
// Any thread, except where a member says otherwise.  A Context keeps its Engine
// alive, a Session keeps its Context.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/experts/experts.h"
#include "lib/forward/forward.h"
#include "lib/kv/layout.h"
#include "lib/media/image_files.h"
#include "lib/model/model.h"
#include "lib/session/backends.h"
#include "lib/session/compute_lock.h"
#include "lib/store/block_cache.h"
#include "lib/store/read_queue.h"
#include "lib/store/shared_store.h"
#include "lib/tokenizer/tokenizer.h"

namespace v4i::session {

class Image;

struct EngineOptions {
  int threads = 0;        // 1 to 1,024; 0: as many as pay (thread_counts)
  int nice = 0;           // of the workers: -20 to 19; 0: as their creator
  std::vector<int> cpus;  // that the workers may run on; empty: as their creator
  BackendOptions backend;
  // Caps by place; 0 or ~0 = none.  Of a device: what the backend says (forward::cuda).
  std::uint64_t host_bytes = 0, pinned_bytes = 0, device_bytes = 0, disk_bytes = 0;
  HostAllocator allocator;
  // Makes the backend in place of make_backend(); for tests.
  std::function<std::shared_ptr<forward::Backend>(const BackendOptions&, ThreadPool&, Budget&)>
      make_backend;
};

class Engine {
 public:
  // Error(kInvalid) for a thread count out of range, kUnsupported for a backend or kernels that
  // this build or processor does not have, naming those it has.
  explicit Engine(const EngineOptions& options);

  Budget& budget() { return budget_; }
  ThreadPool& pool() { return pool_; }
  forward::Backend& backend() { return *backend_; }
  // The pool runs one thing at a time: whoever computes holds this.
  ComputeLock& compute_lock() { return compute_lock_; }
  // Reads of files; made when it is first asked for.
  std::shared_ptr<store::ReadQueue> reads();
  media::ImageFiles& image_files() { return image_files_; }

 private:
  Budget budget_;
  ThreadPool pool_;
  std::shared_ptr<forward::Backend> backend_;
  ComputeLock compute_lock_;
  std::mutex reads_mutex_;
  std::shared_ptr<store::ReadQueue> reads_;
  media::ImageFiles image_files_;
};

// Stores of a session's KV blocks below memory, fast to slow.
using Tiers = std::vector<std::shared_ptr<store::SharedStore>>;

struct OpenOptions {
  std::string path;
  forward::Numerics numerics = forward::Numerics::kNative;
  std::int64_t context_hint = 0;  // tokens; 0, or above it, = the model's maximum
  int max_batch_tokens = 512;     // of one forward run; 1 to 65,536
  // Where KV blocks of sessions without tiers go besides memory: from where they may leave it and
  // be taken up by another process.  Null: they stay in memory.
  std::shared_ptr<store::BlockStore> kv_store;
  int rows_per_block = 64;  // of KV rows: what is sealed, shared and moved at once; 1 to 65,536
  // Where the experts lie, and how many, where they lie in slots.
  experts::Placement experts = experts::Placement::kBest;
  std::size_t expert_slots = 0;  // at most; 0: as many as the budget has room for
  bool expert_guesses = true;    // reads what the next layer may need
  // Where the rows of n-gram tables come from: the mapped shards, or reads into a cache of at most
  // so many bytes (0: a sixteenth of the budget, 256 MB without one).
  experts::Placement engram = experts::Placement::kBest;
  std::uint64_t engram_cache_bytes = 0;
  std::function<void(const std::string&)> log;  // sentences for the host; of any call
};

// How a model that is opened so reads its n-gram tables under this budget.
engram::Options engram_options(const OpenOptions& options, const model::Model& model,
                               const Budget& budget);

class Context {
 public:
  // tokenizer.json is looked for in the model's folder; a model without one opens,
  // and text functions say what is missing (tokenizer() throws kUnsupported).
  static std::shared_ptr<Context> open(std::shared_ptr<Engine> engine, const OpenOptions& options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Engine& engine() { return *engine_; }
  const model::Model& model() const { return *model_; }
  const tokenizer::Tokenizer& tokenizer() const;
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  const experts::Experts& experts() const { return *experts_; }
  const engram::Tables* engram() const { return engram_.get(); }  // null: the model has none
  // Images that sessions hold, by their content.
  std::shared_ptr<Image> find_image(const Digest& content);
  void keep_image(const std::shared_ptr<Image>& image);
  // Where it is kept which experts are used the most, from one process to the next: the folder of
  // a disk tier.  The first folder stays; nothing happens where experts are mapped.
  void keep_heat_in(const std::string& folder);
  forward::Forward& forward() { return *forward_; }  // under the engine's compute lock
  store::BlockCache& cache() { return *cache_; }     // of sessions without tiers
  // The cache that sessions with these tiers share.  It lives as long as somebody holds it.
  std::shared_ptr<store::BlockCache> cache_of(const Tiers& tiers);
  const std::shared_ptr<const kv::Layout>& layout() const { return layout_; }
  std::int64_t context_max() const { return context_max_; }
  std::int64_t vocab() const { return model_->config().vocab; }
  // Names model, numerics and backend: the seed of block keys and saved sessions.
  const Digest& identity() const { return identity_; }

 private:
  Context(std::shared_ptr<Engine> engine, const OpenOptions& options);
  void open_tokenizer(const std::string& path);
  void open_experts(const OpenOptions& options);
  void open_engram(const OpenOptions& options);

  struct TieredCache {
    std::vector<const store::SharedStore*> tiers;  // compared, while the cache holds them
    std::weak_ptr<store::BlockCache> cache;
  };

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const model::Model> model_;
  std::shared_ptr<experts::Experts> experts_;
  std::shared_ptr<engram::Tables> engram_;
  std::mutex images_mutex_;
  std::map<Digest, std::weak_ptr<Image>> images_;
  std::mutex heat_mutex_;
  std::string heat_path_;  // empty: the heat is not kept
  std::function<void(const std::string&)> log_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::shared_ptr<store::BlockCache> cache_;
  std::mutex tiered_mutex_;
  std::vector<TieredCache> tiered_;
  std::unique_ptr<forward::Forward> forward_;
  std::shared_ptr<const kv::Layout> layout_;
  std::int64_t context_max_ = 0;
  Digest identity_{};
};

}  // namespace v4i::session
