// Pages that are opened for the backend's calls and closed behind them; see guarded.h.
#include "tests/session/guarded.h"

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"

namespace v4i::session::test {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kReserved = std::size_t{64} << 30;  // addresses, not memory

class Arena {
 public:
  Arena() {
    void* p =
        ::mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::runtime_error("no addresses for the guarded pages");
    base_ = static_cast<std::byte*>(p);
  }
  ~Arena() { ::munmap(base_, kReserved); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* take(std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    const std::size_t size = rounded(bytes);
    std::vector<std::byte*>& free = free_[size];
    if (!free.empty()) {
      std::byte* p = free.back();
      free.pop_back();
      return p;
    }
    if (used_ + size > kReserved) return nullptr;
    std::byte* p = base_ + used_;
    used_ += size;
    if (open_ > 0) protect(PROT_READ | PROT_WRITE);
    return p;
  }
  void give(std::byte* p, std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    ::madvise(p, rounded(bytes), MADV_DONTNEED);  // zeros when it is taken again
    free_[rounded(bytes)].push_back(p);
  }

  // Pages may be touched while one lives.
  class Open {
   public:
    explicit Open(Arena& arena) : arena_(arena) { arena_.open(1); }
    ~Open() { arena_.open(-1); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Arena& arena_;
  };

 private:
  static std::size_t rounded(std::size_t n) { return (n + kPage - 1) / kPage * kPage; }
  void open(int by) {
    const std::scoped_lock lock(mutex_);
    const bool was = open_ > 0;
    open_ += by;
    if (was != (open_ > 0)) protect(open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
  void protect(int how) {
    if (used_ > 0 && ::mprotect(base_, used_, how) != 0)
      throw std::runtime_error("mprotect failed");
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;
  int open_ = 0;
  std::map<std::size_t, std::vector<std::byte*>> free_;
};

class GuardedMemory final : public store::Memory {
 public:
  GuardedMemory(Arena& arena, Budget& budget) : arena_(arena), budget_(budget) {}
  Place place() const override { return Place::kHost; }
  Budget& budget() override { return budget_; }
  std::byte* allocate(std::size_t bytes, const char* what) override {
    budget_.take(Place::kHost, Use::kKv, bytes, what);
    return arena_.take(bytes);
  }
  void release(std::byte* p, std::size_t bytes) noexcept override {
    arena_.give(p, bytes);
    budget_.give(Place::kHost, Use::kKv, bytes);
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    const Arena::Open open(arena_);
    std::memcpy(to, from, bytes);
  }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    const Arena::Open open(arena_);
    std::memcpy(to, from, bytes);
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    const Arena::Open open(arena_);
    std::memcpy(to, from, bytes);
  }

 private:
  Arena& arena_;
  Budget& budget_;
};

class GuardedExecutor final : public forward::Executor {
 public:
  GuardedExecutor(Arena& arena, std::unique_ptr<forward::Executor> inner)
      : arena_(arena), inner_(std::move(inner)) {}
  const std::string& identity() const override { return inner_->identity(); }
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  std::int64_t head_rows() const override { return inner_->head_rows(); }
  void begin(const forward::Batch& b, forward::Streams given, forward::Profile* profile) override {
    const Arena::Open open(arena_);
    inner_->begin(b, given, profile);
  }
  void begin_draft(const forward::Batch& b, const float* hidden) override {
    const Arena::Open open(arena_);
    inner_->begin_draft(b, hidden);
  }
  bool has_dspark() const noexcept override { return inner_->has_dspark(); }
  void feed_dspark(const forward::Batch& b, const float* taps) override {
    const Arena::Open open(arena_);
    inner_->feed_dspark(b, taps);
  }
  void begin_dspark(const forward::Batch& b) override {
    const Arena::Open open(arena_);
    inner_->begin_dspark(b);
  }
  void guess_dspark(const forward::Guesses& out) override {
    const Arena::Open open(arena_);
    inner_->guess_dspark(out);
  }
  void layer(forward::Layer layer, const forward::Batch& in, const forward::Batch& out,
             kv::Lease lease) override {
    const Arena::Open open(arena_);
    inner_->layer(layer, in, out, std::move(lease));
  }
  void streams(std::int64_t first, std::int64_t count, float* to, float* pre) override {
    const Arena::Open open(arena_);
    inner_->streams(first, count, to, pre);
  }
  void head(bool draft, std::span<const forward::LogitsRow> rows) override {
    const Arena::Open open(arena_);
    inner_->head(draft, rows);
  }
  forward::EngramGates engram_gates() const override { return inner_->engram_gates(); }
  void encode_image(std::int64_t height, std::int64_t width, const float* patches, float* out,
                    const CancelFlag* cancel) override {
    const Arena::Open open(arena_);
    inner_->encode_image(height, width, patches, out, cancel);
  }
  void finish() override {
    const Arena::Open open(arena_);
    inner_->finish();
  }
  void abandon() noexcept override {
    const Arena::Open open(arena_);
    inner_->abandon();
  }

 private:
  Arena& arena_;
  std::unique_ptr<forward::Executor> inner_;
};

class GuardedBackend final : public forward::Backend {
 public:
  GuardedBackend(const BackendOptions& options, ThreadPool& pool, Budget& budget)
      : budget_(budget),
        activations_(Budget::kNoCap, {alloc, free, this}),
        inner_(options.isa, pool, activations_),
        memory_(std::make_shared<GuardedMemory>(arena_, budget)) {}

  const char* name() const override { return "guarded"; }
  bool reads_single_rows() const noexcept override { return true; }
  const std::string& identity() const override { return inner_.identity(); }
  const std::shared_ptr<store::Memory>& memory() const override { return memory_; }
  std::unique_ptr<forward::Executor> open(std::shared_ptr<const model::Model> model,
                                          forward::Lookups lookups,
                                          const forward::Options& options) override {
    const Arena::Open open(arena_);
    return std::make_unique<GuardedExecutor>(
        arena_, inner_.open(std::move(model), std::move(lookups), options));
  }

 private:
  // Activations are counted in the engine's budget and lie in the arena.
  static void* alloc(std::size_t bytes, std::size_t, void* user) {
    auto* self = static_cast<GuardedBackend*>(user);
    self->budget_.take(Place::kHost, Use::kScratch, bytes, "the workspace");
    return self->arena_.take(bytes);
  }
  static void free(void* p, std::size_t bytes, std::size_t, void* user) {
    auto* self = static_cast<GuardedBackend*>(user);
    self->arena_.give(static_cast<std::byte*>(p), bytes);
    self->budget_.give(Place::kHost, Use::kScratch, bytes);
  }

  Arena arena_;
  Budget& budget_;
  Budget activations_;
  forward::cpu::CpuBackend inner_;
  std::shared_ptr<store::Memory> memory_;
};

}  // namespace

std::shared_ptr<forward::Backend> guarded_backend(const BackendOptions& options, ThreadPool& pool,
                                                  Budget& budget) {
  return std::make_shared<GuardedBackend>(options, pool, budget);
}

}  // namespace v4i::session::test
