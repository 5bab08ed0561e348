// The conformance suite: each check is a claim of lib/store/block_store.h.
#include "tests/store/conformance.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace v4i::test {

namespace {

using store::BlockStore;
using store::Completion;
using Bytes = std::vector<std::byte>;

constexpr std::byte kUntouched{0xa5};
constexpr int kPolls = 1000;  // of 1 ms each, for stores that take their time

class Suite {
 public:
  Suite(const MakeStore& make, const StoreTraits& traits) : make_(make), traits_(traits) {}

  std::vector<std::string> run() {
    for (auto check : {&Suite::put_and_get, &Suite::misses, &Suite::erased, &Suite::same_key_again,
                       &Suite::many_tickets, &Suite::buffer_sizes, &Suite::full,
                       &Suite::larger_than_the_store}) {
      store_ = make_();
      (this->*check)();
    }
    return std::move(wrong_);
  }

 private:
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> text, Args&&... args) {
    if (!ok) wrong_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  // Polls until every ticket was reported; each must be one of ours, and once.
  std::map<std::uint64_t, Completion> wait(std::vector<std::uint64_t> tickets,
                                           std::size_t at_once) {
    tickets_ = std::move(tickets);
    seen_.clear();
    for (int i = 0; i < kPolls && seen_.size() < tickets_.size(); ++i) collect(at_once, 1'000'000);
    for (std::uint64_t t : tickets_) require(seen_.contains(t), "ticket {} is never reported", t);
    return seen_;
  }

  // Callers have looked at the bytes; what is reported or written now is too late.
  void no_more_reports() {
    collect(4, 0);
    collect(4, 0);
  }

  void collect(std::size_t at_once, std::uint64_t timeout_ns) {
    std::vector<Completion> some(at_once);
    const std::size_t n = store_->poll(some, timeout_ns);
    require(n <= at_once, "poll() reports {} completions into room for {}", n, at_once);
    some.resize(std::min(n, at_once));
    for (const Completion& c : some) {
      require(std::count(tickets_.begin(), tickets_.end(), c.ticket) == 1,
              "poll() reports ticket {}, which nobody has under way", c.ticket);
      require(seen_.emplace(c.ticket, c).second, "ticket {} is reported twice", c.ticket);
    }
  }

  Completion put(std::uint64_t n, std::size_t bytes) {
    const Bytes block = make_block(n, bytes);
    store_->begin_put(make_key(n), block, ++ticket_);
    Completion c = wait({ticket_}, 4)[ticket_];
    no_more_reports();
    return c;
  }

  // Gets block n into a buffer of `room` bytes and checks everything that is promised.
  bool get(std::uint64_t n, std::size_t bytes, std::size_t room) {
    Bytes buffer(room, kUntouched);
    store_->begin_get(make_key(n), buffer, ++ticket_);
    const Completion c = wait({ticket_}, 4)[ticket_];
    const Bytes got = buffer;
    no_more_reports();
    const auto untouched = [&](std::size_t from) {
      return std::all_of(got.begin() + static_cast<std::ptrdiff_t>(from), got.end(),
                         [](std::byte b) { return b == kUntouched; });
    };
    if (c.status == Code::kOk) {
      require(c.bytes == bytes, "a get of {} bytes reports {}", bytes, c.bytes);
      if (room < bytes) {
        require(false, "a get of {} bytes into {} is reported as success", bytes, room);
        return true;
      }
      const Bytes want = make_block(n, bytes);
      require(std::equal(want.begin(), want.end(), got.begin()),
              "block {} of {} bytes comes back with other bytes", n, bytes);
      require(untouched(bytes), "a get writes past the {} bytes of its block", bytes);
      return true;
    }
    require(untouched(0), "a get that fails writes into the buffer");
    require(c.status == Code::kState || room < bytes, "a get fails with code {}, wanted a miss",
            static_cast<int>(c.status));
    return false;
  }

  void put_and_get() {
    for (std::uint64_t n = 0; n < 16; ++n) {
      const std::size_t bytes = 1 + static_cast<std::size_t>(n) * 131;
      const Completion c = put(n, bytes);
      require(c.status == Code::kOk && c.bytes == bytes, "a put of {} bytes reports {}", bytes,
              c.bytes);
    }
    std::uint64_t held = 0;
    for (std::uint64_t n = 0; n < 16; ++n) {
      const std::size_t bytes = 1 + static_cast<std::size_t>(n) * 131;
      const bool claimed = store_->contains(make_key(n)), found = get(n, bytes, bytes);
      require(claimed == found, "contains() says {} of a block that a get {}", claimed,
              found ? "finds" : "misses");
      require(found || !traits_.keeps_what_fits, "block {} is lost though it fits", n);
      if (found) held += bytes;
    }
    require(store_->bytes_used() >= held, "bytes_used() is {} with blocks of {} bytes inside",
            store_->bytes_used(), held);
  }

  void misses() {
    require(!store_->contains(make_key(99)), "contains() knows a key that was never put");
    require(!get(99, 64, 64), "a get finds a block that was never put");
    put(1, 64);
    require(!get(2, 64, 64), "a get finds a block that was never put, next to another");
    store_->erase(make_key(3));  // of nothing: no effect
    require(get(1, 64, 64) || !traits_.keeps_what_fits, "erase() of another key removes a block");
  }

  void erased() {
    put(1, 100);
    put(2, 100);
    store_->erase(make_key(1));
    require(!store_->contains(make_key(1)), "contains() knows an erased block");
    require(!get(1, 100, 100), "a get finds an erased block");
    require(get(2, 100, 100) || !traits_.keeps_what_fits, "erase() removes another block too");
    store_->erase(make_key(2));
    require(store_->bytes_used() == 0, "bytes_used() is {} when all is erased",
            store_->bytes_used());
  }

  void same_key_again() {
    put(1, 500);
    const std::uint64_t used = store_->bytes_used();
    require(put(1, 500).status == Code::kOk, "putting a block that is there fails");
    require(store_->bytes_used() <= std::max<std::uint64_t>(used, 500) || used == 0,
            "a block put twice counts twice");
    require(get(1, 500, 500) || !traits_.keeps_what_fits, "a block put twice is lost");
  }

  // Puts and gets of many blocks under way at once, reports read a few at a time.
  void many_tickets() {
    constexpr std::uint64_t kBlocks = 100;
    std::vector<Bytes> blocks, buffers;
    std::vector<std::uint64_t> tickets;
    for (std::uint64_t n = 0; n < kBlocks; ++n) blocks.push_back(make_block(n, 100 + n));
    for (std::uint64_t n = 0; n < kBlocks; ++n) {
      store_->begin_put(make_key(n), blocks[n], ++ticket_);
      tickets.push_back(ticket_);
    }
    wait(tickets, 3);
    no_more_reports();
    tickets.clear();
    for (std::uint64_t n = 0; n < kBlocks; ++n) buffers.emplace_back(100 + n, kUntouched);
    for (std::uint64_t n = 0; n < kBlocks; ++n) {
      store_->begin_get(make_key(n), buffers[n], ++ticket_);
      tickets.push_back(ticket_);
    }
    auto seen = wait(tickets, 7);
    for (std::uint64_t n = 0; n < kBlocks; ++n) {
      const bool found = seen[tickets[n]].status == Code::kOk;
      require(found || !traits_.keeps_what_fits, "block {} of many is lost", n);
      require(!found || buffers[n] == blocks[n], "block {} of many has other bytes", n);
    }
    no_more_reports();
  }

  void buffer_sizes() {
    put(1, 300);
    get(1, 300, 1000);
    get(1, 300, 299);
    get(1, 300, 0);
    require(get(1, 300, 300) || !traits_.keeps_what_fits,
            "a block is lost after a get into a small buffer");
  }

  // Three times the capacity: what is there afterwards is whole and within capacity.
  void full() {
    const std::size_t bytes = static_cast<std::size_t>(traits_.capacity / 16);
    std::uint64_t found = 0;
    for (std::uint64_t n = 0; n < 48; ++n) {
      try {
        put(n, bytes);
      } catch (const Error& e) {
        require(e.code() == Code::kNoMemory, "a full store throws code {}",
                static_cast<int>(e.code()));
      }
      require(store_->bytes_used() <= traits_.capacity, "{} bytes lie in a store of {}",
              store_->bytes_used(), traits_.capacity);
    }
    for (std::uint64_t n = 0; n < 48; ++n) found += get(n, bytes, bytes) ? 1 : 0;
    require(found <= 16, "{} blocks lie in a store of 16", found);
    require(found > 0 || !traits_.keeps_what_fits, "a full store has nothing in it");
  }

  void larger_than_the_store() {
    const Bytes block = make_block(1, static_cast<std::size_t>(traits_.capacity) + 1);
    try {
      store_->begin_put(make_key(1), block, ++ticket_);
    } catch (const Error& e) {
      require(e.code() == Code::kNoMemory, "a block larger than the store throws code {}",
              static_cast<int>(e.code()));
      require(e.text().size() > 10, "a refusal without a sentence");
      return;
    }
    const Completion c = wait({ticket_}, 1)[ticket_];
    require(c.status == Code::kNoMemory, "a block larger than the store completes with code {}",
            static_cast<int>(c.status));
  }

  const MakeStore& make_;
  StoreTraits traits_;
  std::unique_ptr<BlockStore> store_;
  std::uint64_t ticket_ = 1000;
  std::vector<std::uint64_t> tickets_;        // under way in wait()
  std::map<std::uint64_t, Completion> seen_;  // of these
  std::vector<std::string> wrong_;
};

}  // namespace

std::vector<std::string> check_store(const MakeStore& make, const StoreTraits& traits) {
  return Suite(make, traits).run();
}

store::BlockKey make_key(std::uint64_t n) {
  store::BlockKey key;
  for (std::size_t i = 0; i < key.bytes.size(); ++i)
    key.bytes[i] = static_cast<std::uint8_t>((n * 0x9e3779b97f4a7c15ull + i) >> (i % 8 * 8));
  return key;
}

std::vector<std::byte> make_block(std::uint64_t n, std::size_t bytes) {
  Bytes block(bytes);
  std::uint64_t x = n * 2 + 1;
  for (std::byte& b : block) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    b = static_cast<std::byte>(x >> 56);
  }
  return block;
}

}  // namespace v4i::test
