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
  if (f.form == kv::RowForm::kFloat32) return random_floats(random, out, f.bytes());
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

// Block by block: rows may lie on a device.
void fill_rows(kv::State& state, int layer, kv::RowKind kind, std::int64_t rows, Random& random,
               const std::vector<std::byte>& from) {
  const std::size_t bytes = from.size() / kRows;
  const std::int64_t per_block = state.layout().rows_per_block;
  std::vector<std::byte> block(bytes * static_cast<std::size_t>(per_block));
  for (std::int64_t first = 0; first < rows; first += per_block) {
    const auto n = static_cast<std::size_t>(std::min(per_block, rows - first));
    for (std::size_t r = 0; r < n; ++r)
      std::memcpy(block.data() + r * bytes, from.data() + random() % kRows * bytes, bytes);
    state.cache().memory().upload(state.new_row(layer, kind, first), block.data(), n * bytes);
  }
}

}  // namespace

void make_history(kv::State& state, std::int64_t length, std::int64_t vocab, std::uint64_t seed) {
  Random random(seed);
  const kv::Layout& layout = state.layout();
  store::Memory& memory = state.cache().memory();
  const auto rows = pool(layout.main_row.bytes(),
                         [&](std::byte* out) { random_row(random, layout.main_row, out); });
  const auto keys =
      pool(layout.key.bytes(), [&](std::byte* out) { random_key(random, layout.key, out); });
  state.begin(some_tokens(length, vocab, seed));
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const kv::LayerLayout& layer = layout.layers[static_cast<std::size_t>(l)];
    for (std::int64_t at = std::max<std::int64_t>(0, length - layout.window_slots); at < length;
         ++at)
      memory.upload(state.new_window_row(l, at),
                    rows.data() + random() % kRows * layout.window_row.bytes(),
                    layout.window_row.bytes());
    if (layer.ratio == 0) continue;
    for (std::int64_t at = std::max<std::int64_t>(0, length - layer.partial_slots); at < length;
         ++at) {
      std::vector<std::byte> floats(layer.partial_floats() * sizeof(float));
      random_floats(random, floats.data(), floats.size());
      memory.upload(reinterpret_cast<std::byte*>(state.new_partial(l, at)), floats.data(),
                    floats.size());
    }
    fill_rows(state, l, kv::RowKind::kMain, length / layer.ratio, random, rows);
    if (layer.index_keys)
      fill_rows(state, l, kv::RowKind::kIndex, length / layer.ratio, random, keys);
  }
  state.close();
  state.commit();
}

}  // namespace v4i::bench
