// See history.h.
#include "bench/cuda/history.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace v4i::bench::cuda {
namespace {

constexpr std::size_t kMega = std::size_t{1} << 20;

fc::DeviceBuffer buffer(Meter& m, std::size_t bytes, const char* what) {
  return {m.device(), m.budget(), Use::kKv, m.dry() ? 4 * kMega : bytes, what};
}

int block_bytes(int row_bytes) { return (Store::kRowsPerBlock * row_bytes + 255) / 256 * 256; }

// A piece of blocks: rows of random codes, `rope` bf16 values near 1, scales of 1.
std::vector<std::uint8_t> random_rows(int row_bytes, int codes, int rope) {
  std::mt19937_64 random(3);
  const auto bytes = static_cast<std::size_t>(block_bytes(row_bytes));
  std::vector<std::uint8_t> piece(bytes * 16, 127);
  for (std::size_t row = 0; row < 16 * Store::kRowsPerBlock; ++row) {
    std::uint8_t* to = piece.data() + row / Store::kRowsPerBlock * bytes +
                       row % Store::kRowsPerBlock * static_cast<std::size_t>(row_bytes);
    for (int i = 0; i < codes; ++i) to[i] = static_cast<std::uint8_t>(random() & 0xbf);
    for (int i = 0; i < rope; ++i) {
      const auto code = static_cast<std::uint16_t>((random() & 0x807f) | 0x3f00);
      std::memcpy(to + codes + 2 * i, &code, sizeof code);
    }
  }
  return piece;
}

// put(at, from, n) until `bytes` are full of it.
template <class Put>
void repeat(const std::vector<std::uint8_t>& piece, std::size_t bytes, Put&& put) {
  for (std::size_t at = 0; at < bytes; at += piece.size())
    put(at, piece.data(), std::min(piece.size(), bytes - at));
}

}  // namespace

Store::Store(Meter& m)
    : m_(m),
      row_bytes_(m.shapes().row_bytes()),
      key_bytes_(m.shapes().key_bytes()),
      ring_bytes_((m.shapes().window + 4) * row_bytes_),
      rows_(buffer(m, 384 * kMega, "KV rows")),
      keys_(buffer(m, 256 * kMega, "index keys")),
      host_rows_(m.device(), m.budget(), Use::kKv, m.dry() ? 4 * kMega : 128 * kMega,
                 "KV rows in pinned memory") {
  const Shapes& s = m.shapes();
  const auto rows = random_rows(row_bytes_, s.dim - s.rope, s.rope);
  const auto keys = random_rows(key_bytes_, s.index_dim / 2, 0);
  const fc::Stream stream(m.device());
  repeat(rows, rows_.bytes(), [&](std::size_t at, const std::uint8_t* from, std::size_t n) {
    stream.upload(rows_.data() + at, from, n);
  });
  repeat(keys, keys_.bytes(), [&](std::size_t at, const std::uint8_t* from, std::size_t n) {
    stream.upload(keys_.data() + at, from, n);
  });
  repeat(rows, host_rows_.bytes(), [&](std::size_t at, const std::uint8_t* from, std::size_t n) {
    std::memcpy(host_rows_.host() + at, from, n);
  });
  stream.wait();
}

kc::BlockTable Store::blocks(const fc::DeviceBuffer& memory, int bytes, int row_bytes,
                             const Company& who, int ratio, int pinned) {
  std::mt19937_64 random(++drawn_);
  const std::int64_t rows = (who.context + (who.one ? who.tokens : 1)) / ratio;
  const std::int64_t each = (rows + kRowsPerBlock - 1) / kRowsPerBlock;
  const auto block = static_cast<std::uint64_t>(bytes);
  const std::uint64_t there = memory.bytes() / block, host = host_rows_.bytes() / block;
  std::vector<std::uint8_t*> all;
  std::vector<std::int32_t> first;
  for (int s = 0; s < who.sequences(); ++s) {
    first.push_back(static_cast<std::int32_t>(all.size()));
    // An odd step from a place drawn: blocks in another order, none twice while there are enough.
    const std::uint64_t from = random() % there;
    for (std::int64_t i = 0; i < each; ++i) {
      const std::uint64_t n = from + static_cast<std::uint64_t>(i) * 2741;
      all.push_back(i % 10 < pinned ? host_rows_.on_device() + n % host * block
                                    : memory.data() + n % there * block);
    }
  }
  if (all.empty()) all.push_back(memory.data());
  return {m_.copy_of(all), m_.copy_of(first), kRowsPerBlock, row_bytes};
}

History Store::history(const Company& who, int ratio, int pinned) {
  History h;
  std::vector<kc::Token> tokens(static_cast<std::size_t>(who.tokens));
  std::vector<kc::Sequence> sequences(static_cast<std::size_t>(who.sequences()));
  for (int i = 0; i < who.tokens; ++i) {
    kc::Token& t = tokens[static_cast<std::size_t>(i)];
    t.start = who.context;
    t.position = who.context + (who.one ? i : 0);
    t.sequence = who.one ? 0 : i;
    t.row = i;
  }
  const auto rings = static_cast<std::int64_t>(rows_.bytes()) / ring_bytes_;
  for (int i = 0; i < who.sequences(); ++i) {
    kc::Sequence& s = sequences[static_cast<std::size_t>(i)];
    // Any whole row of the first block is one of a ring: rows follow one another there.
    const std::int64_t at = static_cast<std::int64_t>(++drawn_ * 37) % rings;
    const std::int64_t bytes = block_bytes(row_bytes_);
    s.fixed = s.written = rows_.data() + at * ring_bytes_ / bytes * bytes;
    s.start = who.context;
    s.first = who.one ? 0 : i;
    s.count = who.one ? who.tokens : 1;
  }
  h.tokens = m_.copy_of(tokens);
  h.sequences = m_.copy_of(sequences);
  if (ratio == 0) return h;
  h.rows = blocks(rows_, block_bytes(row_bytes_), row_bytes_, who, ratio, pinned);
  if (ratio == 4) h.keys = blocks(keys_, block_bytes(key_bytes_), key_bytes_, who, ratio, 0);
  return h;
}

}  // namespace v4i::bench::cuda
