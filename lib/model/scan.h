// Scans weight bytes for codes that are not numbers.
//
//   e4m3      0x7f, 0xff
//   ue8m0     0xff
//   bf16 f32  exponent all ones: NaN and infinity
//   fp4       every code is a number; only its scales are scanned
//
// No allocation, so that a first touch inside a decode step is as quiet as any other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/loader/checkpoint.h"
#include "lib/model/checked_rows.h"
#include "lib/model/weights.h"

namespace v4i {
class ThreadPool;
}

namespace v4i::model {

// The matrices to scan as one piece of work.
class ScanList {
 public:
  // What it holds at most.  A CSA layer with its indexer and shared expert has 17, with scales 33.
  static constexpr int kMaxRegions = 256;
  static constexpr int kExpertRegions = 6;

  explicit ScanList(CheckedRows& checked) : checked_(checked) {}
  bool room_for(int regions) const { return count_ + regions <= kMaxRegions; }
  void add(const Weight& w);     // absent ones and those that were checked are skipped
  void add(const Block& block);  // all but the routed experts
  void add(const Expert& expert);
  void add(const HyperHead& head);
  // Rows [begin, end) and the scales that they meet.
  void add_rows(const Weight& w, std::int64_t begin, std::int64_t end);

  // One pass at memory speed.  Error(kFormat) naming shard file, tensor, element and
  // code; the first bad element in the order of add(), whatever the thread count.
  // Without a pool the caller's thread does it.  The rows are marked as checked then.
  void scan(const loader::Checkpoint& checkpoint, ThreadPool* pool) const;

 private:
  enum class Kind { kE4M3, kE8M0, kBF16, kF32 };
  struct Region {
    Kind kind;
    const std::byte* data;
    std::size_t bytes;
    std::int32_t tensor;                      // the weight's index, for messages
    std::size_t first;                        // index of data[0]'s element in the tensor
    std::int64_t rows_begin, rows_end, rows;  // of the weight, and how many it has in all
  };

  static bool any_bad(Kind kind, const std::byte* p, std::size_t bytes);
  [[noreturn]] void report(const loader::Checkpoint& checkpoint, const Region& r,
                           std::size_t begin) const;

  CheckedRows& checked_;
  Region regions_[kMaxRegions];
  int count_ = 0;
};

}  // namespace v4i::model
