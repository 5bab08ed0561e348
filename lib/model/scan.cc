// The scanning loops; see scan.h.
#include "lib/model/scan.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/thread_pool.h"

namespace v4i::model {

namespace {

constexpr std::size_t kChunk = 1u << 20;  // bytes per unit of work; a multiple of 4

// Plain counting loops over bytes or words loaded with memcpy: gcc turns each into
// vector code, aligned or not.
bool any_e4m3_nan(const std::uint8_t* p, std::size_t n) {
  std::uint8_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= static_cast<std::uint8_t>((p[i] & 0x7f) == 0x7f);
  return bad != 0;
}

bool any_e8m0_nan(const std::uint8_t* p, std::size_t n) {
  std::uint8_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= static_cast<std::uint8_t>(p[i] == 0xff);
  return bad != 0;
}

template <class Word>
bool any_exponent_full(const std::byte* p, std::size_t words, Word mask) {
  Word bad = 0;
  for (std::size_t i = 0; i < words; ++i) {
    Word w;
    std::memcpy(&w, p + i * sizeof(Word), sizeof(Word));
    bad |= static_cast<Word>((w & mask) == mask);
  }
  return bad != 0;
}

constexpr std::uint16_t kBf16Exponent = 0x7f80;
constexpr std::uint32_t kF32Exponent = 0x7f800000;

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
      return any_exponent_full<std::uint16_t>(p, bytes / 2, kBf16Exponent);
    case Kind::kF32:
      return any_exponent_full<std::uint32_t>(p, bytes / 4, kF32Exponent);
  }
  return false;
}

void ScanList::push(Kind kind, const void* data, std::size_t bytes, std::int32_t tensor,
                    std::size_t first) {
  V4I_CHECK(count_ < kMaxRegions);
  regions_[count_++] = {kind, static_cast<const std::byte*>(data), bytes, tensor, first};
}

void ScanList::add(const Linear& linear) {
  if (!linear.present()) return;
  if (linear.format == WeightFormat::kF32)
    push(Kind::kF32, linear.data, linear.data_bytes(), linear.tensor);
  if (linear.format == WeightFormat::kBF16)
    push(Kind::kBF16, linear.data, linear.data_bytes(), linear.tensor);
  if (linear.format == WeightFormat::kFp8)
    push(Kind::kE4M3, linear.data, linear.data_bytes(), linear.tensor);
  if (linear.scale != nullptr) push(Kind::kE8M0, linear.scale, linear.scale_bytes(), linear.tensor);
}

void ScanList::add(const Expert& e) {
  add(e.w1);
  add(e.w3);
  add(e.w2);
}

void ScanList::add(const HyperHead& head) { add(head.fn); }

void ScanList::add_row(const Linear& linear, std::int64_t row) {
  V4I_CHECK(linear.scale == nullptr && row >= 0 && row < linear.rows);
  const std::size_t bytes = linear.data_bytes() / static_cast<std::size_t>(linear.rows);
  const auto r = static_cast<std::size_t>(row);
  push(linear.format == WeightFormat::kF32 ? Kind::kF32 : Kind::kBF16, linear.data + r * bytes,
       bytes, linear.tensor, r * static_cast<std::size_t>(linear.cols));
}

void ScanList::add(const Block& block) {
  const Attention& a = block.attn;
  for (const Linear* l :
       {&block.hc_attn.fn, &block.hc_ffn.fn, &a.wq_a, &a.wq_b, &a.wkv, &a.wo_a, &a.wo_b,
        &a.compressor.wkv, &a.compressor.wgate, &a.indexer.wq_b, &a.indexer.weights_proj,
        &a.indexer.compressor.wkv, &a.indexer.compressor.wgate, &block.ffn.gate})
    add(*l);
  add(block.ffn.shared);
}

void ScanList::scan(const loader::Checkpoint& checkpoint, ThreadPool* pool) const {
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
    pool->run(total, body);
  else
    body(0, total, 0);
  std::int64_t at = first_bad.load();
  if (at == total) return;
  int r = 0;
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
