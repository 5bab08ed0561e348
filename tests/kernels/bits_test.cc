// The tables of sixteen lanes give the same bits, on one processor and between processors:
// tests/aarch64 compares what the hidden test prints here and under qemu.
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/quant.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using v4i::RowForm;
using v4i::Weight;

namespace {

// Uniform in [-2, 2), the same numbers with every compiler and libm.
std::vector<float> numbers(std::int64_t n, unsigned seed) {
  std::mt19937 g(seed);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(static_cast<int>(g() >> 8) - (1 << 23)) * 0x1p-22f;
  return x;
}

std::vector<std::uint8_t> bytes(std::int64_t n, unsigned seed, unsigned low, unsigned count) {
  std::mt19937 g(seed);
  std::vector<std::uint8_t> x(static_cast<std::size_t>(n));
  for (auto& v : x) v = static_cast<std::uint8_t>(low + g() % count);
  return x;
}

std::uint64_t hash(const std::vector<float>& x) {  // FNV-1a
  std::uint64_t h = 14695981039346656037u;
  for (float v : x) {
    std::uint32_t u;
    std::memcpy(&u, &v, sizeof u);
    h = (h ^ u) * 1099511628211u;
  }
  return h;
}

// 300 columns end inside a block; 384 are three whole ones.
std::uint64_t linear_bits(const KernelTable& k, Format f, int block, std::int64_t cols,
                          std::int64_t tokens) {
  constexpr std::int64_t kRows = 13;
  const auto floats = numbers(kRows * cols, 1);
  // Codes below 126 and bf16 bytes below 64: no NaN, no infinity.
  const auto data = bytes(kRows * cols * 2, 2, 0, f == Format::kBF16 ? 64 : 126);
  const auto scale = bytes(kRows * 12, 3, 110, 20);
  const Weight w{f,
                 kRows,
                 cols,
                 f == Format::kF32 ? static_cast<const void*>(floats.data()) : data.data(),
                 scale.data(),
                 f == Format::kFp4 ? 1 : block,
                 block};
  const auto x = numbers(tokens * cols, 4);
  std::vector<float> y(static_cast<std::size_t>(tokens * kRows));
  std::vector<float> scratch(static_cast<std::size_t>(linear_scratch_floats(cols)));
  k.linear({w, 0, kRows, x.data(), cols, nullptr, y.data(), kRows, tokens, false, scratch.data()});
  return hash(y);
}

std::uint64_t attention_bits(const KernelTable& k, bool packed) {
  constexpr int kDim = 512, kRope = 64, kHeads = 3, kCount = 37;
  std::vector<std::vector<std::uint8_t>> store;
  std::vector<const void*> row;
  for (int i = 0; i < kCount; ++i) {
    const auto x = numbers(kDim, 100u + static_cast<unsigned>(i));
    store.emplace_back(kDim * sizeof(float));
    if (packed)
      pack_row(x.data(), kDim, kRope, store.back().data());
    else
      std::memcpy(store.back().data(), x.data(), kDim * sizeof(float));
  }
  for (const auto& s : store) row.push_back(s.data());
  const auto q = numbers(kHeads * kDim, 5);
  const std::vector<float> sink = {0.5f, -2.0f, -20.0f};
  std::vector<float> out(kHeads * kDim);
  std::vector<float> scratch(
      static_cast<std::size_t>(attention_scratch_floats(kDim, kCount, kHeads)));
  k.attention({{kDim, kRope, packed ? RowForm::kFp8Rope16 : RowForm::kFloat32},
               row.data(),
               kCount,
               q.data(),
               sink.data(),
               out.data(),
               0,
               kHeads,
               0.0625f,
               packed,
               scratch.data()});
  return hash(out);
}

std::uint64_t index_bits(const KernelTable& k) {
  constexpr int kKeys = 9, kHeads = 4, kDim = 128, kBytes = 68;
  std::vector<std::uint8_t> keys(kKeys * kBytes);
  for (int j = 0; j < kKeys; ++j)
    pack_key(numbers(kDim, static_cast<unsigned>(j)).data(), kDim, &keys[std::size_t(j * kBytes)]);
  const std::uint8_t* block = keys.data();
  const auto q = numbers(kHeads * kDim, 6), w = numbers(kHeads, 7);
  std::vector<float> score(kKeys), scratch(std::size_t(index_scratch_floats(kDim, kHeads, 1)));
  k.index_scores({kDim, kHeads, true, &block, kKeys, kKeys, kBytes, 1, q.data(), w.data(),
                  score.data(), kKeys, false, scratch.data()});
  return hash(score);
}

std::vector<std::uint64_t> bits_of(const KernelTable& k) {
  std::vector<std::uint64_t> bits;
  for (Format f : {Format::kF32, Format::kBF16, Format::kFp8, Format::kFp4})
    for (std::int64_t cols : {300, 384})
      for (std::int64_t tokens : {1, 6})
        bits.push_back(linear_bits(k, f, f == Format::kFp4 ? 32 : 128, cols, tokens));
  for (bool packed : {false, true}) bits.push_back(attention_bits(k, packed));
  bits.push_back(index_bits(k));
  for (std::int64_t cols : {300, 384})  // the blocks of V4.1
    for (std::int64_t tokens : {1, 6})
      bits.push_back(linear_bits(k, Format::kFp8, 32, cols, tokens));
  return bits;
}

std::vector<const KernelTable*> sixteen_lanes() {
  std::vector<const KernelTable*> out;
  for (const char* name : {"avx2", "avx512", "neon"})
    if (const KernelTable* t = select_kernels(name)) out.push_back(t);
  return out;
}

}  // namespace

TEST_CASE("the tables of sixteen lanes give the same bits", "[kernels][bits]") {
  for (const KernelTable* t : sixteen_lanes()) {
    CAPTURE(t->name);
    CHECK(bits_of(*t) == bits_of(*sixteen_lanes().front()));
  }
}

TEST_CASE("prints the bits of the tables of sixteen lanes", "[.bits]") {
  for (const KernelTable* t : sixteen_lanes()) {
    int i = 0;
    for (std::uint64_t b : bits_of(*t))
      std::printf("bits %d %016llx\n", i++, static_cast<unsigned long long>(b));
  }
}
