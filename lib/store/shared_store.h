// SharedStore: one BlockStore for several caches.
//
// Each cache gets a client, a BlockStore of its own: tickets of clients may be equal, each hears of
// its own ones only, and the calls into the store below are one at a time whoever makes them.  A
// client may go away with work under way: what is reported of it later is dropped, and its buffers
// have to stay until settle() or the end of the store.
//
// No thread of its own: the store below is called on the threads that call in here, and a call that
// it makes back into here (by asking the Budget for memory, which asks caches) is refused (kBusy),
// and so is a put while another client is being served for longer than a moment.
//
// Any thread; a client one thread at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::store {

class SharedStore : public std::enable_shared_from_this<SharedStore> {
 public:
  // What clients have asked for.  Times are those from the beginning of a put or get to its report,
  // added up, so that they overlap.
  struct Counts {
    std::uint64_t hits = 0, misses = 0;
    std::uint64_t damaged = 0;  // blocks that a cache has erased because they came back damaged
    std::uint64_t read_bytes = 0, write_bytes = 0, read_ns = 0, write_ns = 0;
  };
  enum class For { kCache, kTest };  // what a test does is not counted

  static std::shared_ptr<SharedStore> make(std::unique_ptr<BlockStore> store);
  ~SharedStore();  // waits as close() does
  SharedStore(const SharedStore&) = delete;
  SharedStore& operator=(const SharedStore&) = delete;

  std::unique_ptr<BlockStore> client(For use = For::kCache);
  Counts counts() const;
  StoreStats stats();  // of the store below; zeros when it is closed
  // Ends the store below once everything under way is reported, after kPatience at the latest. From
  // now on nothing can be begun (kState) and nothing is found.
  void close() noexcept;
  // Lives until the store below has ended: what it may still use.
  void keep(std::shared_ptr<const void> thing);

  static constexpr auto kPatience = std::chrono::seconds(10);

 private:
  using Clock = std::chrono::steady_clock;
  class Client;
  class Turn;
  struct Ticket {
    Client* client = nullptr;  // null: it has gone
    std::uint64_t theirs = 0;
    bool get = false;
    Clock::time_point start;
  };
  explicit SharedStore(std::unique_ptr<BlockStore> store);

  template <class Begin>
  void begin(Client& client, std::uint64_t ticket, bool get, Begin&& begin);
  std::size_t poll(Client& client, std::span<Completion> out, std::uint64_t timeout_ns);
  void poll_below(std::uint64_t timeout_ns);  // in a turn
  void deliver(const Completion& c);          // mutex_ is held
  void count(const Ticket& t, const Completion& c);
  void settle() noexcept;
  bool inside() const { return owner_ == std::this_thread::get_id(); }  // mutex_ is held

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a turn has ended, or something was delivered
  bool busy_ = false, closed_ = false;
  std::thread::id owner_;  // of the turn
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, Ticket> tickets_;  // under way
  int clients_ = 0;
  Counts counts_;
  std::vector<std::shared_ptr<const void>> kept_;
  std::unique_ptr<BlockStore> store_;  // used in a turn
};

}  // namespace v4i::store
