// The checks; each is a claim of block_store.h.
#include "lib/store/selftest.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "lib/store/selftest_probe.h"

namespace v4i::store {

namespace {

using detail::Bytes;
using detail::kUntouched;
using detail::Probe;

constexpr auto kAWhile = std::chrono::milliseconds(20);

std::size_t size_of(std::uint64_t n) { return 1 + static_cast<std::size_t>(n) * 131; }

void lost(Probe& p, const SelftestOptions& o) {
  for (std::uint64_t n = 0; n < 16; ++n) {
    const Completion c = p.put(n, size_of(n));
    p.require(c.status == Code::kOk && c.bytes == size_of(n),
              "a put of {} bytes reports {} bytes and status {}", size_of(n), c.bytes,
              static_cast<int>(c.status));
  }
  std::uint64_t held = 0;
  for (std::uint64_t n = 0; n < 16; ++n) {
    const bool claimed = p.store().contains(p.key(n)), found = p.get(n, size_of(n), size_of(n));
    p.require(claimed == found, "contains() says {} of a block that a get {}", claimed,
              found ? "finds" : "misses");
    p.require(found || !p.keeps(), "block {} of {} bytes is lost though it fits", n, size_of(n));
    if (found) held += size_of(n);
  }
  p.require(!o.alone || p.store().bytes_used() >= held,
            "bytes_used() is {} with blocks of {} bytes inside", p.store().bytes_used(), held);
}

// Every byte of a key counts, whatever its value and wherever it is.
void corrupt(Probe& p) {
  std::vector<BlockKey> keys(1, p.key(0));
  keys[0].bytes[3] = 0;
  for (std::size_t i = 0; i < keys[0].bytes.size(); ++i) {
    BlockKey k = keys[0];
    k.bytes[i] ^= i % 2 == 0 ? 0x80 : '\n';
    keys.push_back(k);
  }
  for (std::size_t n = 0; n < keys.size(); ++n) {
    p.wait({p.begin_put(keys[n], p.keep(p.block(n, 64 + n)))}, 4);
  }
  for (std::size_t n = 0; n < keys.size(); ++n) {
    const bool found = p.get(keys[n], p.block(n, 64 + n), 200);
    p.require(found || !p.keeps(), "a block is lost whose key differs from others in one byte");
  }
}

void erased(Probe& p, const SelftestOptions& o) {
  p.require(!p.store().contains(p.key(99)), "contains() knows a key that was never put");
  p.require(!p.get(99, 64, 64), "a get finds a block that was never put");
  p.put(1, 100);
  p.put(2, 100);
  p.require(!p.get(99, 64, 64), "a get finds a block that was never put, next to others");
  p.store().erase(p.key(99));  // of nothing: no effect
  p.store().erase(p.key(1));
  p.require(!p.store().contains(p.key(1)), "contains() knows an erased block");
  p.require(!p.get(1, 100, 100), "a get finds an erased block");
  p.require(p.get(2, 100, 100) || !p.keeps(), "erase() removes another block too");
  p.store().erase(p.key(2));
  p.require(!o.alone || p.store().bytes_used() == 0, "bytes_used() is {} when all is erased",
            p.store().bytes_used());
}

void twice(Probe& p, const SelftestOptions& o) {
  p.put(1, 500);
  const std::uint64_t used = p.store().bytes_used();
  p.require(p.put(1, 500).status == Code::kOk, "putting a block that is there fails");
  p.require(!o.alone || p.store().bytes_used() <= std::max<std::uint64_t>(used, 500),
            "a block put twice counts twice");
  p.require(p.get(1, 500, 500) || !p.keeps(), "a block put twice is lost");
}

// Puts and gets of many blocks under way at once, reports read a few at a time.
void reordered(Probe& p) {
  constexpr std::uint64_t kBlocks = 100;
  std::vector<Bytes*> buffers;
  std::vector<std::uint64_t> tickets;
  for (std::uint64_t n = 0; n < kBlocks; ++n)
    tickets.push_back(p.begin_put(p.key(n), p.keep(p.block(n, 100 + n))));
  p.wait(std::exchange(tickets, {}), 3);
  p.no_more_reports();
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    buffers.push_back(&p.keep(Bytes(100 + n, kUntouched)));
    tickets.push_back(p.begin_get(p.key(n), *buffers.back()));
  }
  auto seen = p.wait(tickets, 7);
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    const bool found = seen[tickets[n]].status == Code::kOk;
    p.require(found || !p.keeps(), "block {} of many is lost", n);
    p.require(!found || *buffers[n] == p.block(n, 100 + n), "block {} of many has other bytes", n);
  }
  p.no_more_reports();
}

// The caller uses its buffers for something else as soon as their tickets are reported.
void late(Probe& p) {
  for (std::uint64_t n = 0; n < 8; ++n) {
    Bytes& data = p.keep(p.block(n, 4096));
    p.wait({p.begin_put(p.key(n), data)}, 4);
    std::fill(data.begin(), data.end(), kUntouched);
  }
  std::this_thread::sleep_for(kAWhile);
  p.no_more_reports();
  std::vector<const Bytes*> buffers;
  for (std::uint64_t n = 0; n < 8; ++n) {
    Bytes& buffer = p.keep(Bytes(4096));
    const std::uint64_t ticket = p.begin_get(p.key(n), buffer);
    const bool found = p.wait({ticket}, 4)[ticket].status == Code::kOk;
    p.require(!found || buffer == p.block(n, 4096),
              "a put or get uses its buffer after its ticket was reported");
    std::fill(buffer.begin(), buffer.end(), kUntouched);
    buffers.push_back(&buffer);
  }
  std::this_thread::sleep_for(kAWhile);
  p.no_more_reports();
  for (const Bytes* b : buffers)
    p.require(*b == Bytes(4096, kUntouched), "a get writes after its ticket was reported");
}

void partial(Probe& p) {
  p.put(1, 300);
  for (const std::size_t room : {1000, 299, 0}) p.get(1, 300, room);
  p.require(p.get(1, 300, 300) || !p.keeps(), "a block is lost after a get into a small buffer");
}

void parts(Probe& p) {
  constexpr std::size_t kBytes = 3 * 4096 + 100;
  if (!p.store().reads_parts()) return;
  p.put(1, kBytes);
  const Bytes whole = p.block(1, kBytes);
  struct Part {
    std::size_t at, bytes;
  };
  for (const Part& part : {Part{0, 4096}, {4096, 4096}, {4096, 8192}, {8192, 4196}, {12288, 100}}) {
    Bytes& buffer = p.keep(Bytes(part.bytes, kUntouched));
    const std::uint64_t ticket = p.begin_part(p.key(1), part.at, buffer);
    const Completion c = p.wait({ticket}, 4)[ticket];
    p.require(c.status == Code::kOk || !p.keeps(), "a part of a block is lost");
    if (c.status != Code::kOk) continue;
    p.require(c.bytes == part.bytes, "a part of {} bytes reports {}", part.bytes, c.bytes);
    p.require(std::equal(buffer.begin(), buffer.end(),
                         whole.begin() + static_cast<std::ptrdiff_t>(part.at)),
              "{} bytes of a block from {} on come back as others", part.bytes, part.at);
  }
  for (const Part& part : {Part{8192, 8192}, {16384, 4096}}) {
    Bytes& buffer = p.keep(Bytes(part.bytes, kUntouched));
    const std::uint64_t ticket = p.begin_part(p.key(1), part.at, buffer);
    p.require(p.wait({ticket}, 4)[ticket].status == Code::kState,
              "a part behind the end of a block is no miss");
  }
  Bytes& buffer = p.keep(Bytes(64));
  const std::uint64_t ticket = p.begin_part(p.key(2), 0, buffer);
  p.require(p.wait({ticket}, 4)[ticket].status == Code::kState,
            "a part of a block that was never put is no miss");
}

void closed(Probe& p) {
  std::vector<std::uint64_t> tickets;
  for (std::uint64_t n = 0; n < 16; ++n)
    tickets.push_back(p.begin_put(p.key(n), p.keep(p.block(n, 2000))));
  std::this_thread::sleep_for(kAWhile);
  for (std::uint64_t n = 0; n < 16; ++n)
    tickets.push_back(p.begin_get(p.key(n), p.keep(Bytes(2000))));
  std::this_thread::sleep_for(kAWhile);
  p.wait(tickets, 32);
  p.no_more_reports();
}

// Three times the capacity: what is there afterwards is whole and within capacity.
void full(Probe& p, const SelftestOptions& o) {
  const std::size_t bytes = static_cast<std::size_t>(o.capacity / 16);
  std::uint64_t found = 0;
  for (std::uint64_t n = 0; n < 48; ++n) {
    try {
      p.put(n, bytes);
    } catch (const Error& e) {
      p.require(e.code() == Code::kNoMemory, "a full store refuses with status {}",
                static_cast<int>(e.code()));
    }
    p.require(!o.alone || p.store().bytes_used() <= o.capacity, "{} bytes lie in a store of {}",
              p.store().bytes_used(), o.capacity);
  }
  for (std::uint64_t n = 0; n < 48; ++n) found += p.get(n, bytes, bytes) ? 1 : 0;
  p.require(found <= 16, "{} blocks lie in a store of 16", found);
  p.require(found > 0 || !p.keeps(), "a full store has nothing in it");
}

void larger_than_the_store(Probe& p, const SelftestOptions& o) {
  const Bytes& block = p.keep(p.block(1, static_cast<std::size_t>(o.capacity) + 1));
  std::uint64_t ticket = 0;
  try {
    ticket = p.begin_put(p.key(1), block);
  } catch (const Error& e) {
    p.require(e.code() == Code::kNoMemory, "a block larger than the store is refused with {}",
              static_cast<int>(e.code()));
    return;
  }
  const Completion c = p.wait({ticket}, 1)[ticket];
  p.require(c.status == Code::kNoMemory, "a block larger than the store completes with status {}",
            static_cast<int>(c.status));
}

}  // namespace

SelftestResult selftest(BlockStore& store, const SelftestOptions& options) {
  Probe p(store, options.seed, options.keeps_what_fits);
  p.check("lost", [&] { lost(p, options); });
  p.check("corrupt", [&] { corrupt(p); });
  p.check("erased", [&] { erased(p, options); });
  p.check("twice", [&] { twice(p, options); });
  p.check("reordered", [&] { reordered(p); });
  p.check("late", [&] { late(p); });
  p.check("partial", [&] { partial(p); });
  p.check("parts", [&] { parts(p); });
  p.check("closed", [&] { closed(p); });
  if (options.capacity == 0) return p.take();
  p.check("full", [&] { full(p, options); });
  p.check("full", [&] { larger_than_the_store(p, options); });
  return p.take();
}

}  // namespace v4i::store
