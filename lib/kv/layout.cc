// Layout: sizes and offsets of the KV state (spec 4).
#include "lib/kv/layout.h"

#include "lib/base/error.h"

namespace v4i::kv {

namespace {

constexpr int kScaleChannels = 64;  // of a packed row, per ue8m0 scale
constexpr int kKeyChannels = 32;    // of a packed index key or a kFp8 row, per ue8m0 scale
constexpr int kFp4Channels = 16;    // of a kFp4 row, per e4m3 scale
constexpr std::size_t kAlign = 64;
// Far above any model, far below what could overflow 64 bits in a product.
constexpr int kMaxExtent = 1 << 20;
constexpr std::size_t kMaxLayers = 4096;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

void check_extent(const char* name, int value, int least) {
  if (value < least || value > kMaxExtent)
    fail(Code::kInvalid, "KV layout: {} is {}, wanted {}..{}", name, value, least, kMaxExtent);
}

void check_layer(const LayerLayout& l) {
  check_extent("ratio", l.ratio, 0);
  check_extent("partial_slots", l.partial_slots, 0);
  check_extent("partial_width", l.partial_width, 0);
  check_extent("index_width", l.index_width, 0);
  if (l.partial_width > 0 && l.partial_slots < l.ratio)
    fail(Code::kInvalid, "KV layout: {} partial slots cannot feed rows of {} tokens",
         l.partial_slots, l.ratio);
}

}  // namespace

std::size_t RowFormat::bytes() const {
  const auto n = static_cast<std::size_t>(dim), r = static_cast<std::size_t>(rope);
  switch (form) {
    case RowForm::kFloat32:
      return n * sizeof(float);
    case RowForm::kFp8Rope16:
      return round_up((n - r) + 2 * r + (n - r + kScaleChannels - 1) / kScaleChannels, 8);
    case RowForm::kFp8:
      return n + (n + kKeyChannels - 1) / kKeyChannels;
    case RowForm::kFp4:
      return (n + 1) / 2 + (n + kFp4Channels - 1) / kFp4Channels;
  }
  return 0;
}

std::size_t KeyFormat::bytes() const {
  const auto n = static_cast<std::size_t>(dim);
  if (!packed) return n * sizeof(float);
  return (n + 1) / 2 + (n + kKeyChannels - 1) / kKeyChannels;
}

std::size_t LayerLayout::partial_floats() const {
  return static_cast<std::size_t>(partial_width) + static_cast<std::size_t>(index_width);
}

void Layout::finish() {
  for (const RowFormat& row : {window_row, main_row}) {
    check_extent("row dim", row.dim, 1);
    check_extent("row rope", row.rope, 0);
    if (row.rope > row.dim)
      fail(Code::kInvalid, "KV layout: {} rotary channels in rows of {}", row.rope, row.dim);
  }
  check_extent("key dim", key.dim, 0);
  check_extent("window", window, 1);
  check_extent("rollback", rollback, 0);
  check_extent("rows_per_block", rows_per_block, 1);
  if (layers.empty() || layers.size() > kMaxLayers)
    fail(Code::kInvalid, "KV layout: {} layers, wanted 1..{}", layers.size(), kMaxLayers);
  window_slots = window + rollback;
  std::size_t at = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerLayout& l = layers[i];
    check_layer(l);
    check_source(l.main_from, i, l.ratio, false);
    if (l.index_from >= 0) check_source(l.index_from, i, l.ratio, true);
    if (l.index_keys) check_extent("key dim", key.dim, 1);
    l.window_offset = at;
    at = round_up(at + static_cast<std::size_t>(window_slots) * window_row.bytes(), kAlign);
    l.partial_offset = at;
    at += static_cast<std::size_t>(l.partial_slots) * l.partial_floats() * sizeof(float);
    at = round_up(at, kAlign);
  }
  fixed_bytes = at;
}

std::size_t Layout::row_bytes(const LayerLayout& l, bool index) const {
  if (l.ratio == 0 || (index && !l.index_keys)) return 0;
  if ((index ? l.index_from : l.main_from) >= 0) return 0;
  return index ? key.bytes() : main_row.bytes();
}

void Layout::check_source(int source, std::size_t layer, int ratio, bool index) const {
  if (source < 0) return;
  const auto s = static_cast<std::size_t>(source);
  if (s >= layer || layers[s].ratio != ratio || row_bytes(layers[s], index) == 0)
    fail(Code::kInvalid,
         "KV layout: layer {} of ratio {} reads the {} of layer {}, which has none for it", layer,
         ratio, index ? "index keys" : "rows", source);
}

std::uint64_t Layout::bytes(std::uint64_t tokens) const {
  std::uint64_t total = fixed_bytes;
  const auto per_block = static_cast<std::uint64_t>(rows_per_block);
  for (const LayerLayout& l : layers) {
    if (l.ratio == 0) continue;
    const std::uint64_t rows = tokens / static_cast<std::uint64_t>(l.ratio);
    const std::uint64_t blocks = (rows + per_block - 1) / per_block;
    total += blocks * per_block * (row_bytes(l, false) + row_bytes(l, true));
  }
  return total;
}

double Layout::bytes_per_token() const {
  double total = 0;
  for (const LayerLayout& l : layers)
    if (l.ratio > 0)
      total += static_cast<double>(row_bytes(l, false) + row_bytes(l, true)) / l.ratio;
  return total;
}

Digest Layout::digest() const {
  Sha256 h;
  const auto add = [&](std::int64_t v) { h.update(&v, sizeof v); };
  for (const RowFormat& row : {window_row, main_row})
    for (int v : {row.dim, row.rope, static_cast<int>(row.form)}) add(v);
  for (int v : {key.dim, int{key.packed}, window, rollback, rows_per_block}) add(v);
  add(static_cast<std::int64_t>(layers.size()));
  for (const LayerLayout& l : layers)
    for (int v : {l.ratio, l.partial_slots, l.partial_width, l.index_width, int{l.index_keys},
                  l.main_from, l.index_from})
      add(v);
  return h.finish();
}

}  // namespace v4i::kv
