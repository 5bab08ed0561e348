// FakeForward: see the header.  Source<T> is where a layer's history is read from;
// the state and the plain arrays are the two kinds, and layer_outputs() is shared.
#include "tests/kv/fake_forward.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "lib/base/error.h"

namespace v4i::test {

namespace {

using kv::RowKind;
using Row = std::vector<std::byte>;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t both[2] = {a, b};
  return checksum64(both, sizeof both, 7);
}

std::uint64_t hash(const std::byte* p, std::size_t n) { return checksum64(p, n, 3); }

Row fill(std::uint64_t seed, std::size_t bytes) {
  Row row(bytes);
  for (std::size_t i = 0; i < bytes; ++i) row[i] = static_cast<std::byte>(mix(seed, i));
  return row;
}

// What one layer has kept, by absolute position or row number.
struct History {
  virtual ~History() = default;
  virtual const std::byte* window(std::int64_t position) const = 0;
  virtual const float* partial(std::int64_t position) const = 0;
  virtual const std::byte* row(RowKind kind, std::int64_t row) const = 0;
  virtual void keep(std::int64_t position, Row window, std::vector<float> partial) = 0;
  virtual void keep_row(RowKind kind, std::int64_t row, const Row& bytes) = 0;
};

// Plain arrays that keep everything.
struct Everything final : History {
  std::vector<Row> windows, rows[2];
  std::vector<std::vector<float>> partials;
  const std::byte* window(std::int64_t p) const override { return windows.at(p).data(); }
  const float* partial(std::int64_t p) const override { return partials.at(p).data(); }
  const std::byte* row(RowKind k, std::int64_t r) const override {
    return rows[static_cast<int>(k)].at(r).data();
  }
  void keep(std::int64_t, Row w, std::vector<float> p) override {
    windows.push_back(std::move(w));
    partials.push_back(std::move(p));
  }
  void keep_row(RowKind k, std::int64_t, const Row& b) override {
    rows[static_cast<int>(k)].push_back(b);
  }
};

// The state for what is old, the chunk's own values for what is new.
struct FromState final : History {
  kv::State* state;
  int layer;
  std::int64_t start;
  std::vector<Row> windows;
  std::vector<std::vector<float>> partials;
  FromState(kv::State& s, int l) : state(&s), layer(l), start(s.length()) {}
  const std::byte* window(std::int64_t p) const override {
    if (p >= start) return windows.at(p - start).data();
    return state->window_row(layer, p);
  }
  const float* partial(std::int64_t p) const override {
    if (p >= start) return partials.at(p - start).data();
    return state->partial(layer, p);
  }
  const std::byte* row(RowKind k, std::int64_t r) const override { return state->row(layer, k, r); }
  void keep(std::int64_t, Row w, std::vector<float> p) override {
    windows.push_back(std::move(w));
    partials.push_back(std::move(p));
  }
  void keep_row(RowKind k, std::int64_t r, const Row& b) override {
    std::memcpy(state->new_row(layer, k, r), b.data(), b.size());
  }
  void write_rings() const {
    const kv::Layout& layout = state->layout();
    const auto n = static_cast<std::int64_t>(windows.size());
    for (std::int64_t i = std::max<std::int64_t>(0, n - layout.window_slots); i < n; ++i)
      std::memcpy(state->new_window_row(layer, start + i), windows[i].data(), windows[i].size());
    const int slots = layout.layers[layer].partial_slots;
    for (std::int64_t i = std::max<std::int64_t>(0, n - slots); i < n && slots > 0; ++i)
      std::copy(partials[i].begin(), partials[i].end(), state->new_partial(layer, start + i));
  }
};

std::uint64_t rows_hash(const kv::Layout& layout, const kv::LayerLayout& l, const History& h,
                        std::int64_t tokens) {
  std::uint64_t sum = 0;
  for (std::int64_t r = 0; l.ratio > 0 && r < tokens / l.ratio; ++r) {
    sum = mix(sum, hash(h.row(RowKind::kMain, r), layout.main_row.bytes()));
    if (l.index_keys) sum = mix(sum, hash(h.row(RowKind::kIndex, r), layout.key.bytes()));
  }
  return sum;
}

// The row that position `p` completes, from the inputs of the last 1 or 2 blocks.
void complete_row(const kv::Layout& layout, const kv::LayerLayout& l, History& h, std::int64_t p) {
  if (l.ratio == 0 || (p + 1) % l.ratio != 0) return;
  const std::int64_t span = l.index_keys ? 2 * l.ratio : l.ratio, row = p / l.ratio;
  std::uint64_t main = 1, index = 2;
  for (std::int64_t q = std::max<std::int64_t>(0, p + 1 - span); q <= p; ++q) {
    const auto* bytes = reinterpret_cast<const std::byte*>(h.partial(q));
    main = mix(main, hash(bytes, l.partial_width * sizeof(float)));
    index =
        mix(index, hash(bytes + l.partial_width * sizeof(float), l.index_width * sizeof(float)));
  }
  h.keep_row(RowKind::kMain, row, fill(main, layout.main_row.bytes()));
  if (l.index_keys) h.keep_row(RowKind::kIndex, row, fill(index, layout.key.bytes()));
}

void layer_outputs(const kv::Layout& layout, const kv::LayerLayout& l, std::int64_t start,
                   std::span<const std::int32_t> tokens, History& h, Outputs& out) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::int64_t p = start + static_cast<std::int64_t>(i);
    std::uint64_t v = mix(static_cast<std::uint64_t>(tokens[i]), static_cast<std::uint64_t>(p));
    for (std::int64_t q = std::max<std::int64_t>(0, p - layout.window + 1); q < p; ++q)
      v = mix(v, hash(h.window(q), layout.main_row.bytes()));
    v = mix(v, rows_hash(layout, l, h, p));
    std::vector<float> partial(l.partial_floats());
    for (std::size_t c = 0; c < partial.size(); ++c)
      partial[c] = static_cast<float>(mix(v, c + 1000) >> 40);
    h.keep(p, fill(v, layout.main_row.bytes()), std::move(partial));
    complete_row(layout, l, h, p);
    out[i] = mix(out[i], mix(v, rows_hash(layout, l, h, p + 1)));
  }
}

}  // namespace

std::shared_ptr<const kv::Layout> make_layout(FakeShape shape) {
  kv::Layout layout;
  layout.window_row = {
      .dim = 24, .rope = 8, .form = shape.packed ? RowForm::kFp8Rope16 : RowForm::kFloat32};
  layout.main_row = layout.window_row;
  layout.key = {.dim = 12, .packed = shape.packed};
  layout.window = shape.window;
  layout.rollback = shape.rollback;
  layout.rows_per_block = shape.rows_per_block;
  layout.layers.resize(3);
  layout.layers[1] = {.ratio = shape.ratio,
                      .partial_slots = 2 * shape.ratio + shape.rollback,
                      .partial_width = 6,
                      .index_width = 4,
                      .index_keys = true};
  layout.layers[2] = {.ratio = shape.far_ratio,
                      .partial_slots = shape.far_ratio + shape.rollback,
                      .partial_width = 5};
  layout.finish();
  return std::make_shared<const kv::Layout>(std::move(layout));
}

Outputs run(kv::State& state, std::span<const std::int32_t> tokens, bool abort,
            const std::function<void()>& before_end) {
  Outputs out(tokens.size());
  state.begin(tokens);
  const kv::Layout& layout = state.layout();
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    kv::State* const one = &state;
    const kv::Lease lease({&one, 1}, l, nullptr);
    FromState history(state, l);
    layer_outputs(layout, layout.layers[l], state.length(), tokens, history, out);
    history.write_rings();
  }
  before_end();
  if (!abort) state.close();
  abort ? state.abort() : state.commit();
  return out;
}

Outputs run_chunks(kv::State& state, std::span<const std::int32_t> tokens, std::size_t chunk) {
  Outputs all;
  for (std::size_t at = 0; at < tokens.size();) {
    const std::size_t most = std::min(chunk, tokens.size() - at);
    const auto n = static_cast<std::size_t>(state.chunk_length(
        static_cast<std::int64_t>(most), static_cast<std::int64_t>(tokens.size() - at - most)));
    const Outputs out = run(state, tokens.subspan(at, n));
    all.insert(all.end(), out.begin(), out.end());
    at += n;
  }
  return all;
}

Outputs reference(const kv::Layout& layout, std::span<const std::int32_t> tokens) {
  Outputs out(tokens.size());
  for (const kv::LayerLayout& l : layout.layers) {
    Everything history;
    layer_outputs(layout, l, 0, tokens, history, out);
  }
  return out;
}

Tokens make_tokens(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (std::int32_t& t : tokens) t = static_cast<std::int32_t>(random() % 129280);
  return tokens;
}

std::uint64_t visible_bytes(const kv::State& state) {
  const kv::Layout& layout = state.layout();
  const std::int64_t end = state.length();
  std::uint64_t sum = static_cast<std::uint64_t>(end);
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const kv::LayerLayout& layer = layout.layers[l];
    auto* const one = const_cast<kv::State*>(&state);
    const kv::Lease lease({&one, 1}, l, nullptr);
    for (std::int64_t p = std::max<std::int64_t>(0, end - layout.window); p < end; ++p)
      sum = mix(sum, hash(state.window_row(l, p), layout.main_row.bytes()));
    const std::int64_t span = layer.partial_slots - layout.rollback;
    for (std::int64_t p = std::max<std::int64_t>(0, end - span); p < end && layer.ratio > 0; ++p)
      sum = mix(sum, hash(reinterpret_cast<const std::byte*>(state.partial(l, p)),
                          layer.partial_floats() * sizeof(float)));
    for (std::int64_t r = 0; layer.ratio > 0 && r < end / layer.ratio; ++r) {
      sum = mix(sum, hash(state.row(l, RowKind::kMain, r), layout.main_row.bytes()));
      if (layer.index_keys)
        sum = mix(sum, hash(state.row(l, RowKind::kIndex, r), layout.key.bytes()));
    }
  }
  return sum;
}

std::vector<std::byte> save(const kv::State& state) {
  std::vector<std::byte> bytes;
  state.save([&](const void* data, std::size_t n) {
    const auto* p = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), p, p + n);
  });
  return bytes;
}

void restore(kv::State& state, std::span<const std::byte> bytes,
             std::span<const std::int32_t> tokens) {
  std::size_t at = 0;
  state.restore(
      [&](void* data, std::size_t n) {
        if (n > bytes.size() - at) fail(Code::kFormat, "the stream ends after {} bytes", at);
        std::memcpy(data, bytes.data() + at, n);
        at += n;
      },
      tokens);
}

}  // namespace v4i::test
