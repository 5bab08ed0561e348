// Scans weight bytes for codes that are not numbers.
//
//   e4m3      0x7f, 0xff
//   ue8m0     0xff
//   bf16 f32  exponent all ones: NaN and infinity
//   fp4       every code is a number; only its scales are scanned
//
// One pass at memory speed, split over the pool.  No allocation, so that a first
// touch inside a decode step is as quiet as any other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/loader/checkpoint.h"
#include "lib/model/weights.h"

namespace v4i {
class ThreadPool;
}

namespace v4i::model {

// The matrices to scan as one piece of work.  Larger than any part of a model: a CSA
// layer with its indexer and shared expert has 17.
class ScanList {
 public:
  void add(const Linear& linear);  // absent ones are skipped
  void add(const Block& block);    // all but the routed experts
  void add(const Expert& expert);
  void add(const HyperHead& head);
  void add_row(const Linear& linear, std::int64_t row);  // of a plain matrix

  // Error(kFormat) naming shard file, tensor, element and code; the first bad
  // element in the order of add(), whatever the thread count.  Without a pool the
  // caller's thread does it.
  void scan(const loader::Checkpoint& checkpoint, ThreadPool* pool) const;

 private:
  enum class Kind { kE4M3, kE8M0, kBF16, kF32 };
  struct Region {
    Kind kind;
    const std::byte* data;
    std::size_t bytes;
    std::int32_t tensor;  // the weight's index, for messages
    std::size_t first;    // index of data[0]'s element in the tensor
  };
  static constexpr int kMaxRegions = 64;

  static bool any_bad(Kind kind, const std::byte* p, std::size_t bytes);
  void push(Kind kind, const void* data, std::size_t bytes, std::int32_t tensor,
            std::size_t first = 0);
  [[noreturn]] void report(const loader::Checkpoint& checkpoint, const Region& r,
                           std::size_t begin) const;

  Region regions_[kMaxRegions];
  int count_ = 0;
};

}  // namespace v4i::model
