// Probe; see selftest_probe.h.
#include "lib/store/selftest_probe.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "lib/base/hash.h"

namespace v4i::store::detail {

namespace {

// For the reports of stores that take their time; once one has not come, the others get less.
constexpr std::chrono::milliseconds kPatience{2000}, kImpatience{20};

}  // namespace

void Probe::check(const char* name, const std::function<void()>& body) {
  name_ = name;
  ++check_;
  failures_ = unreported_ = 0;
  try {
    body();
  } catch (const std::exception& e) {
    wrong(fmt::format("refuses work: {}", e.what()));
  }
  for (const BlockKey& k : put_) store_.erase(k);
  put_.clear();
  if (failures_ > 1) first_ += fmt::format(" (and {} more)", failures_ - 1);
  if (failures_ > 0) result_.failed.push_back(std::move(first_));
  if (unreported_ > 0)
    std::move(buffers_.begin(), buffers_.end(), std::back_inserter(result_.in_use));
  buffers_.clear();
}

void Probe::wrong(std::string text) {
  if (++failures_ == 1) first_ = fmt::format("{}: {}", name_, text);
}

BlockKey Probe::key(std::uint64_t n) const {
  const std::uint64_t numbers[3] = {seed_, check_, n};
  Sha256 hash;
  hash.update(numbers, sizeof numbers);
  return {hash.finish()};
}

Bytes Probe::block(std::uint64_t n, std::size_t bytes) const {
  Bytes block(bytes);
  std::uint64_t x = (seed_ ^ n) * 2 + 1;
  for (std::byte& b : block) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    b = static_cast<std::byte>(x >> 56);
  }
  return block;
}

std::uint64_t Probe::begin_put(const BlockKey& key, std::span<const std::byte> bytes) {
  put_.push_back(key);
  store_.begin_put(key, bytes, ++ticket_);
  return ticket_;
}

std::uint64_t Probe::begin_get(const BlockKey& key, std::span<std::byte> bytes) {
  store_.begin_get(key, bytes, ++ticket_);
  return ticket_;
}

std::uint64_t Probe::begin_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes) {
  store_.begin_get_part(key, at, bytes, ++ticket_);
  return ticket_;
}

std::map<std::uint64_t, Completion> Probe::wait(std::vector<std::uint64_t> tickets,
                                                std::size_t at_once) {
  tickets_ = std::move(tickets);
  seen_.clear();
  const auto deadline = std::chrono::steady_clock::now() + (patient_ ? kPatience : kImpatience);
  while (seen_.size() < tickets_.size() && std::chrono::steady_clock::now() < deadline)
    collect(at_once, 1'000'000);
  for (const std::uint64_t t : tickets_) {
    if (seen_.contains(t)) continue;
    wrong(fmt::format("ticket {} is never reported", t));
    ++unreported_;
    patient_ = false;
  }
  return seen_;
}

// Callers have looked at the bytes; what is reported or written now is too late.
void Probe::no_more_reports() {
  collect(4, 0);
  collect(4, 0);
}

void Probe::collect(std::size_t at_once, std::uint64_t timeout_ns) {
  std::vector<Completion> some(at_once);
  const std::size_t n = store_.poll(some, timeout_ns);
  require(n <= at_once, "poll() reports {} completions into room for {}", n, at_once);
  some.resize(std::min(n, at_once));
  for (const Completion& c : some) {
    require(std::count(tickets_.begin(), tickets_.end(), c.ticket) == 1,
            "poll() reports ticket {}, which nobody has under way", c.ticket);
    require(seen_.emplace(c.ticket, c).second, "ticket {} is reported twice", c.ticket);
  }
}

Completion Probe::put(std::uint64_t n, std::size_t bytes) {
  const std::uint64_t ticket = begin_put(key(n), keep(block(n, bytes)));
  const Completion c = wait({ticket}, 4)[ticket];
  no_more_reports();
  return c;
}

bool Probe::get(std::uint64_t n, std::size_t bytes, std::size_t room) {
  return get(key(n), block(n, bytes), room);
}

bool Probe::get(const BlockKey& key, const Bytes& want, std::size_t room) {
  const std::size_t bytes = want.size();
  const Bytes& buffer = keep(Bytes(room, kUntouched));
  const std::uint64_t ticket = begin_get(key, buffers_.back());
  const Completion c = wait({ticket}, 4)[ticket];
  const Bytes got = buffer;
  no_more_reports();
  const auto untouched = [&](std::size_t from) {
    return std::all_of(got.begin() + static_cast<std::ptrdiff_t>(from), got.end(),
                       [](std::byte b) { return b == kUntouched; });
  };
  if (c.status != Code::kOk) {
    require(untouched(0), "a get that fails writes into the buffer");
    require(c.status == Code::kState || (c.status == Code::kInvalid && room < bytes),
            "a get fails with status {}, wanted a miss", static_cast<int>(c.status));
    require(c.status != Code::kInvalid || c.bytes == bytes,
            "a get into a buffer that is too small reports {} bytes, wanted {}", c.bytes, bytes);
    return false;
  }
  require(c.bytes == bytes, "a get of {} bytes reports {}", bytes, c.bytes);
  if (room < bytes) {
    require(false, "a get of {} bytes into {} is reported as success", bytes, room);
    return true;
  }
  require(std::equal(want.begin(), want.end(), got.begin()),
          "a block of {} bytes comes back with other bytes", bytes);
  require(untouched(bytes), "a get writes past the {} bytes of its block", bytes);
  return true;
}

}  // namespace v4i::store::detail
