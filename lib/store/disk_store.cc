// DiskStore: puts, gets and their reports; see disk_store.h.
#include "lib/store/disk_store.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/store/disk_folder.h"
#include "lib/store/disk_gets.h"
#include "lib/store/disk_known.h"
#include "lib/store/disk_puts.h"
#include "lib/store/disk_sql.h"

namespace v4i::store {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPatienceMs = 5;      // of a call, for another process that writes the index
constexpr std::size_t kBatch = 16;  // puts of one commit, for who polls without waiting
constexpr auto kBatchAge = std::chrono::milliseconds(10);
constexpr auto kLookAround = std::chrono::seconds(1);  // for what other processes do
constexpr auto kNoteUse = std::chrono::seconds(10);
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 31;  // of a block

class DiskStore final : public BlockStore {
 public:
  DiskStore(const DiskOptions& options, Budget& budget, std::shared_ptr<ReadQueue> reads,
            std::shared_ptr<DiskFiles> files);
  ~DiskStore() override;

  void begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override;
  void begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) override;
  bool reads_parts() const override { return true; }
  void begin_get_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override;
  std::size_t poll(std::span<Completion> out, std::uint64_t timeout_ns) override;
  bool contains(const BlockKey& key) override;
  void erase(const BlockKey& key) override;
  std::uint64_t bytes_used() const override { return segments_.bytes(); }
  StoreStats stats() const override;

 private:
  bool lookup(const BlockKey& key, BlockPlace* place);
  void read(const BlockKey& key, BlockPlace&& place, std::uint64_t at, std::span<std::byte> to,
            std::uint64_t ticket);
  void commit(bool now);
  void collect();
  void look_around();
  void lost(const DiskGets::Get& get);
  void report(std::uint64_t ticket, Code status, std::uint64_t bytes) {
    done_.push_back({ticket, status, bytes});
  }
  Code failed(const Error& e) noexcept;  // counts it

  DiskFolder folder_;
  DiskIndex& index_;
  DiskSegments& segments_;
  DiskKnown known_;

  DiskPuts puts_;
  Clock::time_point looked_{}, noted_{};
  std::deque<Completion> done_;
  std::uint64_t errors_ = 0;
  DiskGets gets_;  // goes first: nobody reads any more then
};

DiskStore::DiskStore(const DiskOptions& options, Budget& budget, std::shared_ptr<ReadQueue> reads,
                     std::shared_ptr<DiskFiles> files)
    : folder_(options, budget, std::move(files)),
      index_(folder_.index()),
      segments_(folder_.segments()),
      known_(budget),
      puts_(folder_, known_),
      gets_(budget, std::move(reads)) {
  looked_ = noted_ = Clock::now();
}

DiskStore::~DiskStore() {
  try {
    commit(true);
  } catch (...) {
    // Nobody was told that these are there.
  }
}

Code DiskStore::failed(const Error& e) noexcept {
  ++errors_;
  if (dynamic_cast<const DamagedFile*>(&e) == nullptr) return e.code();
  folder_.mark_damaged();
  return Code::kIo;
}

void DiskStore::begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                          std::uint64_t ticket) {
  if (folder_.options().read_only)
    fail(Code::kUnsupported, "{}: the disk tier was opened to read only", folder_.options().folder);
  if (bytes.size() > kMostBytes || !segments_.fits(pages_of(bytes.size())))
    fail(Code::kNoMemory, "{}: a block of {} bytes does not fit a disk tier of {}",
         folder_.options().folder, bytes.size(), folder_.options().capacity);
  try {
    BlockPlace there;
    if (index_.find(key, &there))
      report(ticket, Code::kOk, bytes.size());
    else
      puts_.write(key, bytes, ticket);
  } catch (const Error& e) {
    report(ticket, failed(e), 0);
  }
}

void DiskStore::commit(bool now) {
  puts_.commit(
      now, [this](const Error& e) { return failed(e); },
      [this](const Completion& c) { done_.push_back(c); });
}

bool DiskStore::lookup(const BlockKey& key, BlockPlace* place) {
  if (known_.find(key, place) && segments_.has(place->segment)) return true;
  if (puts_.find(key, place)) return true;
  if (!index_.find(key, place)) return false;
  known_.add(key, *place);
  return true;
}

void DiskStore::begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) {
  try {
    BlockPlace place;
    if (!lookup(key, &place)) return report(ticket, Code::kState, 0);
    const std::size_t wanted = place.bytes;
    if (bytes.size() < wanted) return report(ticket, Code::kInvalid, wanted);
    read(key, std::move(place), 0, bytes.first(wanted), ticket);
  } catch (const Error& e) {
    if (e.code() == Code::kNoMemory) throw;
    report(ticket, failed(e), 0);
  }
}

void DiskStore::begin_get_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                               std::uint64_t ticket) {
  try {
    BlockPlace place;
    if (!lookup(key, &place) || at > place.bytes || bytes.size() > place.bytes - at)
      return report(ticket, Code::kState, 0);
    read(key, std::move(place), at, bytes, ticket);
  } catch (const Error& e) {
    if (e.code() == Code::kNoMemory) throw;
    report(ticket, failed(e), 0);
  }
}

void DiskStore::read(const BlockKey& key, BlockPlace&& place, std::uint64_t at,
                     std::span<std::byte> to, std::uint64_t ticket) {
  auto file = segments_.reader(place.segment);
  if (file == nullptr) {
    known_.erase(key);
    if (!folder_.options().read_only) segments_.drop(place.segment);
    return report(ticket, Code::kState, 0);
  }
  if (to.empty()) return report(ticket, Code::kOk, 0);
  gets_.begin({key, std::move(place), at, to, ticket, std::move(file)});
}

void DiskStore::collect() {
  DiskGets::Get get;
  DiskGets::Outcome outcome;
  while (gets_.take(&get, &outcome)) {
    if (outcome == DiskGets::Outcome::kGood) {
      report(get.ticket, Code::kOk, get.to.size());
    } else if (outcome == DiskGets::Outcome::kError) {
      ++errors_;
      report(get.ticket, Code::kIo, 0);
    } else {
      lost(get);
      report(get.ticket, Code::kState, 0);
    }
  }
}

// Bytes without their checksums.  Not an error where the block has been evicted meanwhile.
void DiskStore::lost(const DiskGets::Get& get) {
  known_.erase(get.key);
  try {
    BlockPlace now;
    if (!index_.find(get.key, &now) || now.segment != get.place.segment) return;
    ++errors_;
    if (!folder_.options().read_only) erase(get.key);
  } catch (const Error& e) {
    failed(e);
  }
}

void DiskStore::look_around() {
  const auto now = Clock::now();
  if (now - looked_ < kLookAround) return;
  looked_ = now;
  try {
    segments_.refresh();
    if (folder_.options().read_only || now - noted_ < kNoteUse) return;
    noted_ = now;
    segments_.note_use();
  } catch (const Error& e) {
    if (e.code() != Code::kBusy) failed(e);
  }
}

std::size_t DiskStore::poll(std::span<Completion> out, std::uint64_t timeout_ns) {
  constexpr std::uint64_t kMost = 3600ull * 1'000'000'000;
  const auto until = Clock::now() + std::chrono::nanoseconds(std::min(timeout_ns, kMost));
  for (;;) {
    const std::uint64_t seen = gets_.reads().finished();
    commit(timeout_ns > 0);
    if (!gets_.empty()) gets_.reads().progress(0);
    collect();
    look_around();
    const auto now = Clock::now();
    if (!done_.empty() || (gets_.empty() && puts_.empty()) || now >= until) break;
    auto left = until - now;
    if (!puts_.empty()) left = std::min<Clock::duration>(left, std::chrono::milliseconds(1));
    if (gets_.empty())
      std::this_thread::sleep_for(left);
    else
      gets_.reads().progress(static_cast<std::uint64_t>(left.count()), seen);
  }
  const std::size_t n = std::min(out.size(), done_.size());
  std::copy_n(done_.begin(), n, out.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(n));
  return n;
}

bool DiskStore::contains(const BlockKey& key) {
  try {
    BlockPlace place;
    return lookup(key, &place);
  } catch (const Error& e) {
    failed(e);
    return false;
  }
}

void DiskStore::erase(const BlockKey& key) {
  if (folder_.options().read_only) return;
  known_.erase(key);
  try {
    commit(true);
    const auto left = index_.erase(key);
    if (left && left->blocks == 0) segments_.drop(left->segment);
  } catch (const Error& e) {
    failed(e);
  }
}

StoreStats DiskStore::stats() const {
  StoreStats s{0, bytes_used(), segments_.evictions(), errors_};
  try {
    s.blocks = index_.totals().blocks + puts_.size();
  } catch (const Error&) {
    // Damaged: it cannot say.
  }
  return s;
}

}  // namespace

std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads,
                                            std::shared_ptr<DiskFiles> files) {
  return std::make_unique<DiskStore>(options, budget, std::move(reads), std::move(files));
}

std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads) {
  return open_disk_store(options, budget, std::move(reads), std::make_shared<DiskFiles>());
}

}  // namespace v4i::store
