// Tables: the rows of the Engram tables that a run of tokens needs.
//
// Which rows a token selects depends on the ids up to it alone (hash.h), so they are asked for when
// the run begins and waited for where they are added, at layer 1 and at layer 14 in the released
// model.  A row is two short reads in tensors of 100 GB:
//
//   begin()    hashes the windows; rows in the cache are copied, reads of the others begin, those
//   of
//              the first layer first
//   wait()     until the rows of one layer are there; rows() then gives them as numbers
//   abandon()  forgets the run, as begin() does with the one before
//
// All rows of a run are in memory at the same time, raw, 12.7 KB a token in the released model:
// the constructor takes room for max_tokens of them.  What is read besides goes through a few MB of
// buffers, so a long run is read in waves by a thread of its own while the layers before are
// computed.  `resident` reads nothing and takes rows from the mapping: for those who have the RAM.
//
// One run at a time.  begin, wait and abandon: one thread at a time; rows: any, between a wait for
// its layer and the next begin or abandon; expect and stats: any thread, at any time.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/engram/class_map.h"
#include "lib/engram/hash.h"
#include "lib/engram/row_reader.h"
#include "lib/engram/row_slots.h"
#include "lib/engram/run_rows.h"
#include "lib/engram/table_files.h"

namespace v4i::engram {

struct Options {
  std::uint64_t cache_bytes = std::uint64_t{256} << 20;  // of rows that are kept, at most
  std::int64_t max_tokens = 512;                         // of a run
  bool direct = false;       // past the page cache (O_DIRECT), where the file system can
  bool resident = false;     // from the mapping
  bool synchronous = false;  // reads begin in wait(): to measure what the others save
  std::size_t slab_bytes = std::size_t{1} << 20;  // in which the cache grows and shrinks
  TableFiles::Open open_shard;                    // in place of open(), for tests
};

struct Stats {
  std::uint64_t lookups = 0;  // rows that tokens selected
  std::uint64_t hits = 0;     // ... that were in memory, or on their way
  std::uint64_t reads = 0;    // of files
  std::uint64_t bytes_read = 0;
  std::uint64_t waits = 0;  // wait() had something to wait for
  std::uint64_t wait_ns = 0;
  std::uint64_t cache_bytes = 0;  // held now
};

class Tables final : public Reclaimer, private RowReader::Receiver {
 public:
  // Error(kFormat) for tables of another shape than the config's, or whose rows are not the sum of
  // its primes; kIo for shards that changed; kNoMemory.
  Tables(std::shared_ptr<const model::Model> model, ClassMap classes,
         std::shared_ptr<store::ReadQueue> reads, Budget& budget, const Options& options);
  Tables(TableSource source, ClassMap classes, std::shared_ptr<store::ReadQueue> reads,
         Budget& budget, const Options& options);
  ~Tables() override;
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  // What the constructor takes of the Budget; the cache grows besides, where there is room.
  static std::uint64_t needs(const model::EngramConfig& config, const Options& options);

  std::int64_t columns() const { return hash_.columns(); }
  std::int64_t width() const { return columns() * files_.config().head_dim; }
  std::int64_t max_tokens() const { return max_tokens_; }
  const ClassMap& classes() const { return classes_; }
  const Hash& hash() const { return hash_; }

  // Windows of at most max_tokens() tokens, [n, max_ngram]: see Hash::rows.
  void begin(std::span<const std::int32_t> windows);
  // The same, of tokens that are known and will be computed: their rows are read into the cache
  // when nothing else is to be read.  What does not fit is left out.
  void expect(std::span<const std::int32_t> windows) noexcept;
  // `layer`: index in engram_layer_ids.  Error(kIo) or Error(kFormat, a code that is not a number)
  // naming shard, tensor and row; the next run reads it again.  Error(kCancelled).
  void wait(std::size_t layer, const CancelFlag* cancel);
  // Of tokens [first, first + count) of the run: float32 [count, width()].
  void rows(std::size_t layer, std::int64_t first, std::int64_t count, float* out) const;
  void abandon() noexcept;

  Stats stats() const;
  std::uint64_t give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  void arrived(std::size_t layer, std::int32_t row, Part part, const std::byte* bytes) override;
  void failed(std::size_t layer, std::int32_t row, Part part, int error) override;
  // The rest of it is called with mutex_ held.
  std::size_t tokens_of(std::span<const std::int32_t> windows) const;
  void select(std::size_t layer, std::span<const std::int32_t> windows);
  void find_rows(std::size_t layer);
  void expect_layer(std::size_t layer, std::span<const std::int32_t> windows);
  void wait_for(std::size_t layer, const CancelFlag* cancel, Lock& lock);
  void check(std::size_t layer) const;
  void read();
  void forget_run() noexcept;
  void call_helper() noexcept;
  void help();

  const ClassMap classes_;
  const Hash hash_;
  const TableFiles files_;
  Budget& budget_;
  const std::shared_ptr<store::ReadQueue> reads_;
  const std::int64_t max_tokens_;
  const bool resident_, synchronous_;

  mutable std::mutex mutex_;
  RunRows run_;
  RowSlots slots_;
  std::unique_ptr<RowReader> reader_;   // null: resident
  std::vector<std::int32_t> missing_;   // of one layer, for reads in the order of the file
  std::vector<std::int32_t> selected_;  // by one token
  Stats stats_;

  // Pumps while there is more to read than a queue begins by itself: what a few tokens select is
  // read without waking anybody.
  static constexpr std::size_t kAlone = 128;
  std::condition_variable helper_called_;
  std::thread helper_;
  bool helping_ = false, stop_ = false;
  bool hurry_ = false;  // the run needs rows that hints have begun to read
};

}  // namespace v4i::engram
