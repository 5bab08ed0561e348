// The scanning loops; see scan.h.
#include "lib/model/scan.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/thread_pool.h"

namespace v4i::model {

namespace {

constexpr std::size_t kChunk = 256u << 10;        // bytes per unit of work; a multiple of 4
constexpr std::int64_t kChunkWork = kChunk / 16;  // nanoseconds

// Plain loops over bytes or words loaded with memcpy, the largest code so far and one
// comparison at the end: gcc turns each into three vector instructions, aligned or not.
// Unrolled, a core scans twice as fast (v4infer bench, open to first token).
bool any_e4m3_nan(const std::uint8_t* p, std::size_t n) {
  std::uint8_t most = 0;
#pragma GCC unroll 4
  for (std::size_t i = 0; i < n; ++i) most = std::max(most, static_cast<std::uint8_t>(p[i] & 0x7f));
  return most == 0x7f;
}

bool any_e8m0_nan(const std::uint8_t* p, std::size_t n) {
  std::uint8_t most = 0;
#pragma GCC unroll 4
  for (std::size_t i = 0; i < n; ++i) most = std::max(most, p[i]);
  return most == 0xff;
}

// Signed words: the baseline instruction set has their maximum, of 16 bits at least.
template <class Word>
bool any_exponent_full(const std::byte* p, std::size_t words, Word exponent) {
  Word most = 0;
#pragma GCC unroll 4
  for (std::size_t i = 0; i < words; ++i) {
    Word w;
    std::memcpy(&w, p + i * sizeof(Word), sizeof(Word));
    most = std::max(most, static_cast<Word>(w & std::numeric_limits<Word>::max()));
  }
  return most >= exponent;
}

constexpr std::int16_t kBf16Exponent = 0x7f80;
constexpr std::int32_t kF32Exponent = 0x7f800000;

std::int64_t chunks(std::size_t bytes) {
  return static_cast<std::int64_t>((bytes + kChunk - 1) / kChunk);
}

}  // namespace

bool ScanList::any_bad(Kind kind, const std::byte* p, std::size_t bytes) {
  switch (kind) {
    case Kind::kE4M3:
      return any_e4m3_nan(reinterpret_cast<const std::uint8_t*>(p), bytes);
    case Kind::kE8M0:
      return any_e8m0_nan(reinterpret_cast<const std::uint8_t*>(p), bytes);
    case Kind::kBF16:
      return any_exponent_full<std::int16_t>(p, bytes / 2, kBf16Exponent);
    case Kind::kF32:
      return any_exponent_full<std::int32_t>(p, bytes / 4, kF32Exponent);
  }
  return false;
}

void ScanList::add(const Weight& w) {
  if (!w.present() || checked_.all(w.tensor)) return;
  add_rows(w, 0, w.rows);
}

void ScanList::add_rows(const Weight& w, std::int64_t begin, std::int64_t end) {
  V4I_CHECK(0 <= begin && begin <= end && end <= w.rows);
  const auto push = [&](Kind kind, const void* data, std::int64_t row_bytes, std::size_t width,
                        std::int64_t first, std::int64_t last) {
    V4I_CHECK(count_ < kMaxRegions);
    const auto at = static_cast<std::size_t>(first * row_bytes);
    regions_[count_++] = {kind,
                          static_cast<const std::byte*>(data) + at,
                          static_cast<std::size_t>((last - first) * row_bytes),
                          w.tensor,
                          at / width,
                          begin,
                          end,
                          w.rows};
  };
  const auto row_bytes = static_cast<std::int64_t>(w.data_bytes()) / w.rows;
  if (w.format == WeightFormat::kF32) push(Kind::kF32, w.data, row_bytes, 4, begin, end);
  if (w.format == WeightFormat::kBF16) push(Kind::kBF16, w.data, row_bytes, 2, begin, end);
  if (w.format == WeightFormat::kFp8) push(Kind::kE4M3, w.data, row_bytes, 1, begin, end);
  if (w.scale == nullptr) return;
  push(Kind::kE8M0, w.scale, (w.cols + w.block_cols - 1) / w.block_cols, 1, begin / w.block_rows,
       (end + w.block_rows - 1) / w.block_rows);
}

void ScanList::add(const Expert& e) {
  for_each_linear(e, [&](const Weight& w) { add(w); });
}

void ScanList::add(const HyperHead& head) { add(head.fn); }

void ScanList::add(const Block& block) {
  for_each_linear(block, [&](Part, const Weight& w) { add(w); });
}

void ScanList::scan(const loader::Checkpoint& checkpoint, ThreadPool* pool) const {
  if (count_ == 0) return;
  std::int64_t total = 0;
  for (int r = 0; r < count_; ++r) total += chunks(regions_[r].bytes);
  std::atomic<std::int64_t> first_bad{total};  // of all threads, so that the message is fixed
  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    std::int64_t base = 0;
    for (int r = 0; r < count_; ++r) {
      const Region& region = regions_[r];
      const std::int64_t n = chunks(region.bytes);
      for (std::int64_t i = std::max(begin, base); i < std::min(end, base + n); ++i) {
        const std::size_t at = static_cast<std::size_t>(i - base) * kChunk;
        if (!any_bad(region.kind, region.data + at, std::min(kChunk, region.bytes - at))) continue;
        std::int64_t seen = first_bad.load();
        while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
        }
        return;
      }
      base += n;
    }
  };
  if (pool != nullptr)
    pool->run(total, total * kChunkWork, body);
  else
    body(0, total, 0);
  std::int64_t at = first_bad.load();
  int r = 0;
  if (at == total) {
    for (; r < count_; ++r)
      checked_.mark(regions_[r].tensor, regions_[r].rows_begin, regions_[r].rows_end,
                    regions_[r].rows);
    return;
  }
  for (; at >= chunks(regions_[r].bytes); ++r) at -= chunks(regions_[r].bytes);
  report(checkpoint, regions_[r], static_cast<std::size_t>(at) * kChunk);
}

void ScanList::report(const loader::Checkpoint& checkpoint, const Region& r,
                      std::size_t begin) const {
  const std::size_t width = r.kind == Kind::kF32 ? 4 : r.kind == Kind::kBF16 ? 2 : 1;
  std::size_t i = begin / width;
  while (!any_bad(r.kind, r.data + i * width, width)) ++i;
  std::uint32_t code = 0;
  for (std::size_t b = width; b-- > 0;)
    code = code << 8 | std::to_integer<std::uint32_t>(r.data[i * width + b]);
  const loader::TensorInfo& weight = checkpoint.tensors()[static_cast<std::size_t>(r.tensor)];
  std::string name = weight.name;
  const loader::TensorInfo* t = &weight;
  if (r.kind == Kind::kE8M0) {  // X.weight -> X.scale
    name.replace(name.rfind('.') + 1, std::string::npos, "scale");
    t = &checkpoint.tensors()[static_cast<std::size_t>(checkpoint.find(name))];
  }
  fail(Code::kFormat, "{}: tensor {}: element {} is {:#x}, which is not a number in {}",
       checkpoint.shard_path(*t), name, r.first + i, code, dtype_name(t->dtype));
}

}  // namespace v4i::model
