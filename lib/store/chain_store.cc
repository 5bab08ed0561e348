// ChainStore; see chain_store.h.
#include "lib/store/chain_store.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

namespace v4i::store {

ChainStore::ChainStore(std::vector<std::unique_ptr<BlockStore>> stores) {
  for (auto& s : stores) tiers_.push_back({std::move(s), 0});
}

void ChainStore::begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                           std::uint64_t ticket) {
  const std::uint64_t id = next_++;
  Work& work = works_[id];
  work.ticket = ticket;
  work.result = {ticket, Code::kIo, 0};
  std::optional<Error> refusal;
  for (Tier& t : tiers_) {
    try {
      t.store->begin_put(key, bytes, id);
      ++t.under_way;
      ++work.open;
    } catch (const Error& e) {
      if (!refusal) refusal = e;
    } catch (const std::exception& e) {
      if (!refusal) refusal = Error(Code::kNoMemory, e.what());
    }
  }
  if (work.open > 0) return;
  works_.erase(id);
  throw refusal ? *refusal : Error(Code::kState, "a chain of no stores was given a block");
}

void ChainStore::begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) {
  Work work;
  work.ticket = ticket;
  work.get = true;
  work.key = key;
  work.bytes = bytes;
  get(std::move(work));
}

void ChainStore::begin_get_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                                std::uint64_t ticket) {
  Work work;
  work.ticket = ticket;
  work.get = work.part = true;
  work.key = key;
  work.at = at;
  work.bytes = bytes;
  get(std::move(work));
}

void ChainStore::get(Work work) {
  const std::uint64_t id = next_++;
  work.result = {work.ticket, Code::kState, 0};
  if (ask(id, work))
    works_.emplace(id, std::move(work));
  else
    done_.push_back(work.result);
}

bool ChainStore::ask(std::uint64_t id, Work& work) {
  for (; work.store < tiers_.size(); ++work.store) {
    Tier& t = tiers_[work.store];
    try {
      if (work.part)
        t.store->begin_get_part(work.key, work.at, work.bytes, id);
      else
        t.store->begin_get(work.key, work.bytes, id);
      ++t.under_way;
      return true;
    } catch (const Error& e) {
      if (e.code() == Code::kNoMemory) throw;  // the next one has no more
      work.result = {work.ticket, e.code(), 0};
    }
  }
  return false;
}

std::size_t ChainStore::poll(std::span<Completion> out, std::uint64_t timeout_ns) {
  using Clock = std::chrono::steady_clock;
  constexpr std::uint64_t kSlice = 1'000'000;  // while more than one has work
  const auto deadline = Clock::now() + std::chrono::nanoseconds(timeout_ns);
  for (std::uint64_t wait = 0;;) {
    const auto working =
        std::count_if(tiers_.begin(), tiers_.end(), [](const Tier& t) { return t.under_way > 0; });
    for (Tier& t : tiers_)
      if (t.under_way > 0 && (done_.empty() || wait == 0))
        poll_tier(t, working > 1 ? std::min(wait, kSlice) : wait);
    const auto left = (deadline - Clock::now()).count();
    if (!done_.empty() || left <= 0 || working == 0) break;
    wait = static_cast<std::uint64_t>(left);
  }
  const std::size_t n = std::min(out.size(), done_.size());
  std::copy_n(done_.begin(), n, out.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(n));
  return n;
}

void ChainStore::poll_tier(Tier& tier, std::uint64_t timeout_ns) {
  std::array<Completion, 32> some;
  const std::size_t n = tier.store->poll(some, timeout_ns);
  tier.under_way -= std::min(n, tier.under_way);
  for (std::size_t i = 0; i < n; ++i) finish(some[i]);
}

void ChainStore::finish(const Completion& c) {
  const auto it = works_.find(c.ticket);
  if (it == works_.end()) return;
  Work& work = it->second;
  if (work.get) {
    work.result = {work.ticket, c.status, c.bytes};
    if (c.status != Code::kOk && c.status != Code::kInvalid) try {
        ++work.store;
        if (ask(it->first, work)) return;
      } catch (const Error& e) {
        work.result = {work.ticket, e.code(), 0};
      }
  } else {
    if (work.result.status != Code::kOk) work.result = {work.ticket, c.status, c.bytes};
    if (--work.open > 0) return;
  }
  done_.push_back(work.result);
  works_.erase(it);
}

bool ChainStore::contains(const BlockKey& key) {
  return std::any_of(tiers_.begin(), tiers_.end(), [&](Tier& t) { return t.store->contains(key); });
}

bool ChainStore::reads_parts() const {
  return std::all_of(tiers_.begin(), tiers_.end(),
                     [](const Tier& t) { return t.store->reads_parts(); });
}

void ChainStore::erase(const BlockKey& key) {
  for (Tier& t : tiers_) t.store->erase(key);
}

// Which tier had it is not known any more: each counts it.
void ChainStore::erase_damaged(const BlockKey& key) {
  for (Tier& t : tiers_) t.store->erase_damaged(key);
}

StoreStats ChainStore::stats() const {
  StoreStats all;
  for (const Tier& t : tiers_) {
    const StoreStats s = t.store->stats();
    all.blocks += s.blocks;
    all.bytes += s.bytes;
    all.evictions += s.evictions;
    all.errors += s.errors;
  }
  return all;
}

}  // namespace v4i::store
