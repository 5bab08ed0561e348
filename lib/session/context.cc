// Engine and Context: opening, and the identity of what was opened.
#include "lib/session/context.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/cores.h"
#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/experts/heat_file.h"
#include "lib/session/image.h"
#include "lib/store/chain_store.h"
#include "lib/tokenizer/token_classes.h"

namespace v4i::session {

namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxBatchTokens = 65536;
// Changes when the same model, numerics and backend would give other bits.
constexpr std::uint32_t kIdentityVersion = 1;

std::shared_ptr<forward::Backend> backend_of(const EngineOptions& options, ThreadPool& pool,
                                             Budget& budget) {
  budget.set_cap(Budget::cap_of(options.pinned_bytes), Place::kPinned);
  budget.set_cap(Budget::cap_of(options.device_bytes), Place::kDevice);
  budget.set_cap(Budget::cap_of(options.disk_bytes), Place::kDisk);
  return options.make_backend ? options.make_backend(options.backend, pool, budget)
                              : make_backend(options.backend, pool, budget);
}

ThreadPoolOptions pool_options(const EngineOptions& o) {
  if (o.threads < 0 || o.threads > kMaxThreads)
    fail(Code::kInvalid, "thread count is {}, allowed is 0 (the library decides) to {}", o.threads,
         kMaxThreads);
  if (o.nice < -20 || o.nice > 19)
    fail(Code::kInvalid, "thread priority is {}, allowed is -20 to 19", o.nice);
  const std::vector<int> allowed = allowed_cpus();
  for (int cpu : o.cpus)
    if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end())
      fail(Code::kInvalid, "CPU {} is not one that this thread may run on: {}", cpu,
           list_of(allowed));
  const ThreadCounts counts = thread_counts(o.cpus);
  ThreadPoolOptions out;
  out.threads = o.threads == 0 ? std::min(counts.threads, kMaxThreads) : o.threads;
  out.at_once = counts.at_once;
  out.nice = o.nice;
  out.cpus = o.cpus;
  return out;
}

Digest identity_of(const Digest& model, forward::Numerics numerics, const std::string& backend) {
  Sha256 hash;
  const std::uint32_t numbers[2] = {kIdentityVersion, static_cast<std::uint32_t>(numerics)};
  hash.update(numbers, sizeof numbers);
  hash.update(model.data(), model.size());
  hash.update(backend.data(), backend.size());
  return hash.finish();
}

// Without a cap, and when a quarter of the machine's memory has room for them, pages of the mapped
// tables are as good as a cache of their rows.
bool tables_stay_mapped(experts::Placement wanted, const model::Model& m, const Budget& budget) {
  using experts::Placement;
  if (wanted != Placement::kBest) return wanted == Placement::kMapped;
  std::uint64_t bytes = 0;
  for (const model::Block& b : m.weights().layers)
    if (b.engram.table.present())
      bytes += b.engram.table.data_bytes() + b.engram.table.scale_bytes();
  const std::uint64_t memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                               static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return budget.cap(Place::kHost) == Budget::kNoCap && bytes <= memory / 4;
}

}  // namespace

engram::Options engram_options(const OpenOptions& options, const model::Model& model,
                               const Budget& budget) {
  engram::Options o;
  o.max_tokens = options.max_batch_tokens;
  o.resident = tables_stay_mapped(options.engram, model, budget);
  const std::uint64_t cap = budget.cap(Place::kHost);
  o.cache_bytes = options.engram_cache_bytes != 0 ? options.engram_cache_bytes
                                                  : std::min(o.cache_bytes, cap / 16);
  return o;
}

Engine::Engine(const EngineOptions& options)
    : budget_(Budget::cap_of(options.host_bytes), options.allocator),
      pool_(pool_options(options)),
      backend_(backend_of(options, pool_, budget_)) {}

std::shared_ptr<store::ReadQueue> Engine::reads() {
  const std::scoped_lock lock(reads_mutex_);
  if (reads_ == nullptr) reads_ = std::make_shared<store::ReadQueue>();
  return reads_;
}

std::shared_ptr<Context> Context::open(std::shared_ptr<Engine> engine, const OpenOptions& options) {
  return std::shared_ptr<Context>(new Context(std::move(engine), options));
}

Context::Context(std::shared_ptr<Engine> engine, const OpenOptions& options)
    : engine_(std::move(engine)),
      cache_(std::make_shared<store::BlockCache>(engine_->backend().memory(), options.kv_store)) {
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMaxBatchTokens)
    fail(Code::kInvalid, "max_batch_tokens is {}, allowed is 1 to {}", options.max_batch_tokens,
         kMaxBatchTokens);
  if (options.rows_per_block < 1 || options.rows_per_block > 65536)
    fail(Code::kInvalid, "rows_per_block is {}, allowed is 1 to 65536", options.rows_per_block);
  if (options.context_hint < 0)
    fail(Code::kInvalid, "context_hint is {}, allowed is 0 or more", options.context_hint);
  model_ = model::Model::open(options.path);
  open_tokenizer(join_path(model_->checkpoint().folder(), "tokenizer.json"));
  open_experts(options);
  open_engram(options);
  forward::Options forward_options;
  forward_options.numerics = options.numerics;
  forward_options.max_tokens = options.max_batch_tokens;
  forward_options.rows_per_block = options.rows_per_block;
  {
    // Weights on their way to a device are checked by the pool, which does one thing at a time.
    std::optional<Turn> turn;
    if (engine_->backend().has_device()) turn.emplace(engine_->compute_lock(), nullptr);
    forward_ = std::make_unique<forward::Forward>(model_, engine_->backend(), forward_options,
                                                  forward::Lookups{experts_, engram_});
  }
  layout_ = std::make_shared<const kv::Layout>(forward_->layout());
  const std::int64_t most = model_->config().max_positions;
  context_max_ = options.context_hint == 0 ? most : std::min(most, options.context_hint);
  identity_ = identity_of(model_->digest(), options.numerics, forward_->identity());
}

std::shared_ptr<Image> Context::find_image(const Digest& content) {
  const std::scoped_lock lock(images_mutex_);
  const auto found = images_.find(content);
  return found == images_.end() ? nullptr : found->second.lock();
}

void Context::keep_image(const std::shared_ptr<Image>& image) {
  const std::scoped_lock lock(images_mutex_);
  std::erase_if(images_, [](const auto& entry) { return entry.second.expired(); });
  images_[image->content()] = image;
}

void Context::keep_heat_in(const std::string& folder) {
  if (experts_->stats().slot_bytes == 0) return;
  const std::scoped_lock lock(heat_mutex_);
  if (!heat_path_.empty()) return;
  heat_path_ = experts::heat_path(folder, model_->digest());
  experts::load_heat(*experts_, heat_path_, log_);
}

Context::~Context() {
  if (!heat_path_.empty()) experts::save_heat(*experts_, heat_path_, log_);
}

void Context::open_experts(const OpenOptions& options) {
  using experts::Placement;
  Budget& budget = engine_->budget();
  const bool cached =
      options.experts == Placement::kCached ||
      (options.experts == Placement::kBest && experts::needs_cache(*model_, budget));
  if (!cached) {
    experts_ = experts::mapped_experts(model_);
    return;
  }
  log_ = options.log;
  experts_ = experts::cached_experts(model_, budget, engine_->reads(),
                                     {options.expert_slots, options.expert_guesses, log_, {}});
}

// Classes of ids are those of the tokenizer, unless a file beside the model says them.
void Context::open_engram(const OpenOptions& options) {
  const model::Config& c = model_->config();
  if (c.engram.layers.empty()) return;
  const std::string& folder = model_->checkpoint().folder();
  const bool has_file = engram::ClassMap::has_file(folder);
  if (!has_file && tokenizer_ == nullptr)
    fail(Code::kFormat,
         "{}: neither tokenizer.json nor engram_token_map.json is here; the n-gram tables of this "
         "model are addressed by classes of its tokens",
         folder);
  engram::ClassMap classes = has_file ? engram::ClassMap::from_file(folder, c)
                                      : engram::ClassMap(tokenizer::token_classes(*tokenizer_), c,
                                                         join_path(folder, "tokenizer.json"));
  Budget& budget = engine_->budget();
  engram_ = std::make_shared<engram::Tables>(model_, std::move(classes), engine_->reads(), budget,
                                             engram_options(options, *model_, budget));
}

std::shared_ptr<store::BlockCache> Context::cache_of(const Tiers& tiers) {
  if (tiers.empty()) return cache_;
  std::vector<const store::SharedStore*> names;
  for (const auto& t : tiers) names.push_back(t.get());
  const std::scoped_lock lock(tiered_mutex_);
  std::erase_if(tiered_, [](const TieredCache& t) { return t.cache.expired(); });
  for (const TieredCache& t : tiered_)
    if (t.tiers == names)
      if (auto cache = t.cache.lock()) return cache;
  std::vector<std::unique_ptr<store::BlockStore>> clients;
  for (const auto& t : tiers) clients.push_back(t->client());
  std::shared_ptr<store::BlockStore> below;
  if (clients.size() == 1)
    below = std::move(clients[0]);
  else
    below = std::make_shared<store::ChainStore>(std::move(clients));
  auto cache = std::make_shared<store::BlockCache>(engine_->backend().memory(), std::move(below));
  tiered_.push_back({std::move(names), cache});
  return cache;
}

void Context::open_tokenizer(const std::string& path) {
  if (!file_exists(path)) return;
  tokenizer_ = tokenizer::Tokenizer::open(path);
  if (tokenizer_->size() > vocab())
    fail(Code::kFormat, "{}: has token ids up to {}, the model's vocabulary ends at {}", path,
         tokenizer_->size() - 1, vocab() - 1);
}

const tokenizer::Tokenizer& Context::tokenizer() const {
  if (tokenizer_ == nullptr)
    fail(Code::kUnsupported,
         "{}: there is no tokenizer.json beside the model, so text cannot be "
         "read or written; token ids can",
         model_->path());
  return *tokenizer_;
}

}  // namespace v4i::session
