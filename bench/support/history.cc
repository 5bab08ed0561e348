// make_history: KV rows that were never computed; see whole.h.
#include <algorithm>
#include <cstring>
#include <random>

#include "bench/support/whole.h"

namespace v4i::bench {

namespace {

constexpr std::size_t kRows = 1024;  // different ones; more would only cost time here

using Random = std::mt19937_64;

void random_floats(Random& random, std::byte* out, std::size_t bytes) {
  std::uniform_real_distribution<float> values(-1, 1);
  for (std::size_t i = 0; i + sizeof(float) <= bytes; i += sizeof(float)) {
    const float v = values(random);
    std::memcpy(out + i, &v, sizeof v);
  }
}

// Values within +-2: e4m3 codes below 0x40 and a sign, bf16 near 1, scales of 1.
void random_row(Random& random, const kv::RowFormat& f, std::byte* out) {
  if (f.form == RowForm::kFloat32) return random_floats(random, out, f.bytes());
  const auto plain = static_cast<std::size_t>(f.dim - f.rope);
  std::memset(out, 127, f.bytes());
  for (std::size_t i = 0; i < plain; ++i) out[i] = static_cast<std::byte>(random() & 0xbf);
  for (int i = 0; i < f.rope; ++i) {
    const auto code = static_cast<std::uint16_t>((random() & 0x807f) | 0x3f00);
    std::memcpy(out + plain + 2 * static_cast<std::size_t>(i), &code, sizeof code);
  }
}

void random_key(Random& random, const kv::KeyFormat& f, std::byte* out) {
  if (!f.packed) return random_floats(random, out, f.bytes());
  std::memset(out, 127, f.bytes());
  for (int i = 0; i < f.dim / 2; ++i) out[i] = static_cast<std::byte>(random() & 0xff);
}

// kRows rows of `bytes` each, made by `make`.
template <class Make>
std::vector<std::byte> pool(std::size_t bytes, Make&& make) {
  std::vector<std::byte> out(bytes * kRows);
  for (std::size_t i = 0; i < kRows; ++i) make(out.data() + i * bytes);
  return out;
}

// Rows [begin, end), block by block: rows may lie on a device.
void fill_rows(kv::State& state, int layer, kv::RowKind kind, std::int64_t begin, std::int64_t end,
               Random& random, const std::vector<std::byte>& from) {
  const std::size_t bytes = from.size() / kRows;
  const std::int64_t per_block = state.layout().rows_per_block;
  std::vector<std::byte> block(bytes * static_cast<std::size_t>(per_block));
  for (std::int64_t first = begin, n_rows = 0; first < end; first += n_rows) {
    n_rows = std::min(end, (first / per_block + 1) * per_block) - first;
    const auto n = static_cast<std::size_t>(n_rows);
    for (std::size_t r = 0; r < n; ++r)
      std::memcpy(block.data() + r * bytes, from.data() + random() % kRows * bytes, bytes);
    state.cache().memory().upload(state.new_row(layer, kind, first), block.data(), n * bytes);
  }
}

}  // namespace

namespace {

struct Pools {
  std::vector<std::byte> rows, keys;
};

// Of one chunk, which ends at `end`.
void fill_layer(kv::State& state, int l, std::int64_t end, Random& random, const Pools& from) {
  const kv::Layout& layout = state.layout();
  const kv::LayerLayout& layer = layout.layers[static_cast<std::size_t>(l)];
  store::Memory& memory = state.cache().memory();
  const std::int64_t begin = state.length();
  for (std::int64_t at = std::max(begin, end - layout.window_slots); at < end; ++at)
    memory.upload(state.new_window_row(l, at),
                  from.rows.data() + random() % kRows * layout.window_row.bytes(),
                  layout.window_row.bytes());
  if (layer.ratio == 0) return;
  std::vector<std::byte> floats(layer.partial_floats() * sizeof(float));
  for (std::int64_t at = std::max(begin, end - layer.partial_slots); at < end; ++at) {
    random_floats(random, floats.data(), floats.size());
    memory.upload(reinterpret_cast<std::byte*>(state.new_partial(l, at)), floats.data(),
                  floats.size());
  }
  const std::int64_t first = begin / layer.ratio, last = end / layer.ratio;
  fill_rows(state, l, kv::RowKind::kMain, first, last, random, from.rows);
  if (layer.index_keys) fill_rows(state, l, kv::RowKind::kIndex, first, last, random, from.keys);
}

}  // namespace

void make_history(kv::State& state, std::int64_t length, std::int64_t vocab, std::uint64_t seed) {
  constexpr std::int64_t kChunk = 8192;  // tokens; what is done may leave memory
  Random random(seed);
  const kv::Layout& layout = state.layout();
  const Pools from = {
      pool(layout.main_row.bytes(),
           [&](std::byte* out) { random_row(random, layout.main_row, out); }),
      pool(layout.key.bytes(), [&](std::byte* out) { random_key(random, layout.key, out); })};
  const std::vector<std::int32_t> ids = some_tokens(length, vocab, seed);
  for (std::int64_t at = 0; at < length;) {
    const std::int64_t n = std::min(kChunk, length - at);
    state.begin(std::span(ids).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n)));
    for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l)
      fill_layer(state, l, at + n, random, from);
    state.close();
    state.commit();
    at += n;
  }
}

}  // namespace v4i::bench
