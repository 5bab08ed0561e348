// Turns, tickets and their completions; see shared_store.h.
#include "lib/store/shared_store.h"

#include <algorithm>
#include <array>

namespace v4i::store {

namespace {

// Of one wait in the store below while other clients may want a turn.
constexpr std::uint64_t kSlice = 1'000'000;

std::uint64_t ns_until(std::chrono::steady_clock::time_point end) {
  const auto left = (end - std::chrono::steady_clock::now()).count();
  return left > 0 ? static_cast<std::uint64_t>(left) : 0;
}

}  // namespace

// Has the store below for its thread.
class SharedStore::Turn {
 public:
  enum class Wait { kLong, kShort };
  explicit Turn(SharedStore& shared, Wait wait = Wait::kLong) : shared_(shared) {
    constexpr auto kShortWait = std::chrono::milliseconds(20);
    const auto free = [&] { return !shared_.busy_; };
    std::unique_lock lock(shared_.mutex_);
    if (shared_.inside())
      fail(Code::kBusy, "a block store called back into the cache that called it");
    if (wait == Wait::kLong)
      shared_.changed_.wait(lock, free);
    else if (!shared_.changed_.wait_for(lock, kShortWait, free))
      fail(Code::kBusy, "the block store is busy");
    take();
  }
  // In a turn that the caller, holding the mutex, has found free.
  Turn(SharedStore& shared, std::unique_lock<std::mutex>& lock) : shared_(shared) {
    take();
    lock.unlock();
  }
  ~Turn() {
    const std::scoped_lock lock(shared_.mutex_);
    shared_.busy_ = false;
    shared_.owner_ = std::thread::id();
    shared_.changed_.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  void take() {
    shared_.busy_ = true;
    shared_.owner_ = std::this_thread::get_id();
  }
  SharedStore& shared_;
};

class SharedStore::Client final : public BlockStore {
 public:
  Client(std::shared_ptr<SharedStore> shared, For use) : shared_(std::move(shared)), use_(use) {
    const std::scoped_lock lock(shared_->mutex_);
    ++shared_->clients_;
  }
  ~Client() override {
    const std::scoped_lock lock(shared_->mutex_);
    for (auto& [ours, ticket] : shared_->tickets_)
      if (ticket.client == this) ticket.client = nullptr;
    --shared_->clients_;
  }

  void begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override {
    shared_->begin(*this, ticket, false,
                   [&](BlockStore& s, std::uint64_t t) { s.begin_put(key, bytes, t); });
  }
  void begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) override {
    shared_->begin(*this, ticket, true,
                   [&](BlockStore& s, std::uint64_t t) { s.begin_get(key, bytes, t); });
  }
  void begin_get_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override {
    shared_->begin(*this, ticket, true,
                   [&](BlockStore& s, std::uint64_t t) { s.begin_get_part(key, at, bytes, t); });
  }
  std::size_t poll(std::span<Completion> out, std::uint64_t timeout_ns) override {
    return shared_->poll(*this, out, timeout_ns);
  }
  bool contains(const BlockKey& key) override {
    const Turn turn(*shared_);
    return shared_->store_ != nullptr && shared_->store_->contains(key);
  }
  bool reads_parts() const override {
    const Turn turn(*shared_);
    return shared_->store_ != nullptr && shared_->store_->reads_parts();
  }
  void erase(const BlockKey& key) override {
    const Turn turn(*shared_);
    if (shared_->store_ != nullptr) shared_->store_->erase(key);
  }
  void erase_damaged(const BlockKey& key) override {
    if (counted()) {
      const std::scoped_lock lock(shared_->mutex_);
      ++shared_->counts_.damaged;
    }
    erase(key);
  }
  std::uint64_t bytes_used() const override { return shared_->stats().bytes; }
  StoreStats stats() const override { return shared_->stats(); }

 private:
  friend class SharedStore;
  bool counted() const { return use_ == For::kCache; }
  std::shared_ptr<SharedStore> shared_;
  For use_;
  // Of the shared one's mutex:
  std::deque<Completion> done_;
  std::size_t under_way_ = 0;
};

SharedStore::SharedStore(std::unique_ptr<BlockStore> store) : store_(std::move(store)) {}

std::shared_ptr<SharedStore> SharedStore::make(std::unique_ptr<BlockStore> store) {
  return std::shared_ptr<SharedStore>(new SharedStore(std::move(store)));
}

SharedStore::~SharedStore() { close(); }

std::unique_ptr<BlockStore> SharedStore::client(For use) {
  return std::make_unique<Client>(shared_from_this(), use);
}

SharedStore::Counts SharedStore::counts() const {
  const std::scoped_lock lock(mutex_);
  return counts_;
}

void SharedStore::keep(std::shared_ptr<const void> thing) {
  const std::scoped_lock lock(mutex_);
  kept_.push_back(std::move(thing));
}

StoreStats SharedStore::stats() {
  const Turn turn(*this);
  return store_ != nullptr ? store_->stats() : StoreStats{};
}

// Puts can be done later, and caches begin them also while they give memory back: whose turn it is
// may be waiting for that memory, so that waiting long for the turn would be waiting for ever.
template <class Begin>
void SharedStore::begin(Client& client, std::uint64_t ticket, bool get, Begin&& begin) {
  const Turn turn(*this, get ? Turn::Wait::kLong : Turn::Wait::kShort);
  std::uint64_t ours = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) fail(Code::kState, "the block store is closed");
    ours = next_++;
    tickets_.emplace(ours, Ticket{&client, ticket, get, Clock::now()});
    ++client.under_way_;
  }
  try {
    begin(*store_, ours);
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    if (tickets_.erase(ours) > 0) --client.under_way_;
    throw;
  }
}

// Without a timeout it does not wait for another's turn either: caches poll like that while they
// give memory back, when the one whose turn it is may be waiting for that memory.
std::size_t SharedStore::poll(Client& client, std::span<Completion> out, std::uint64_t timeout_ns) {
  const auto deadline = Clock::now() + std::chrono::nanoseconds(timeout_ns);
  for (bool last = timeout_ns == 0;; last = last || Clock::now() >= deadline) {
    std::unique_lock lock(mutex_);
    const auto reported = [&] { return !client.done_.empty(); };
    const auto free = [&] { return !busy_ && !closed_; };
    if (!reported() && client.under_way_ > 0 && !last && !inside())
      changed_.wait_until(lock, deadline, [&] { return reported() || free(); });
    if (reported()) {
      const std::size_t n = std::min(out.size(), client.done_.size());
      std::copy_n(client.done_.begin(), n, out.begin());
      client.done_.erase(client.done_.begin(),
                         client.done_.begin() + static_cast<std::ptrdiff_t>(n));
      return n;
    }
    if (client.under_way_ == 0 || !free()) return 0;
    const std::uint64_t wait = last ? 0 : ns_until(deadline);
    const std::uint64_t slice = clients_ > 1 ? std::min(wait, kSlice) : wait;
    const Turn turn(*this, lock);
    poll_below(slice);
    const std::scoped_lock again(mutex_);
    if (last && !reported()) return 0;
  }
}

void SharedStore::poll_below(std::uint64_t timeout_ns) {
  std::array<Completion, 32> some;
  std::size_t n = some.size();
  for (; n == some.size(); timeout_ns = 0) {
    n = std::min(store_->poll(some, timeout_ns), some.size());
    const std::scoped_lock lock(mutex_);
    for (std::size_t i = 0; i < n; ++i) deliver(some[i]);
  }
}

void SharedStore::deliver(const Completion& c) {
  const auto it = tickets_.find(c.ticket);
  if (it == tickets_.end()) return;  // nobody's
  const Ticket t = it->second;
  tickets_.erase(it);
  if (t.client == nullptr) return;
  --t.client->under_way_;
  t.client->done_.push_back({t.theirs, c.status, c.bytes});
  if (t.client->counted()) count(t, c);
  changed_.notify_all();
}

void SharedStore::count(const Ticket& t, const Completion& c) {
  const auto ns = static_cast<std::uint64_t>((Clock::now() - t.start).count());
  if (t.get) {
    if (c.status == Code::kState) ++counts_.misses;
    if (c.status != Code::kOk) return;
    ++counts_.hits;
    counts_.read_bytes += c.bytes;
    counts_.read_ns += ns;
  } else if (c.status == Code::kOk) {
    counts_.write_bytes += c.bytes;
    counts_.write_ns += ns;
  }
}

void SharedStore::settle() noexcept {
  constexpr std::uint64_t kLook = 20'000'000;
  const auto deadline = Clock::now() + kPatience;
  const auto open = [&] {
    const std::scoped_lock lock(mutex_);
    return !tickets_.empty();
  };
  while (open() && Clock::now() < deadline) {
    try {
      poll_below(std::min(kLook, ns_until(deadline)));
    } catch (...) {
      return;
    }
  }
}

void SharedStore::close() noexcept try {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  const Turn turn(*this);
  settle();
  store_.reset();
} catch (...) {  // called by the store itself, which then ends with this object
}

}  // namespace v4i::store
