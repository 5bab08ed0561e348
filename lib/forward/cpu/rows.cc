// KV rows of one layer: those of earlier runs in the state, those of this one in the workspace.
#include <algorithm>
#include <cstring>

#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

std::size_t partial_floats(const Pass& p, int layer) {
  return p.layout().layers[static_cast<std::size_t>(layer)].partial_floats();
}

}  // namespace

const std::byte* window_row(const Pass& p, int layer, std::int64_t t, std::int64_t position) {
  const Token& token = p.token(t);
  if (position < p.batch->start(token)) return p.batch->state(token).window_row(layer, position);
  const std::int64_t row = token.row - (token.position - position);
  return p.w.rows.data() + row * static_cast<std::int64_t>(p.layout().window_row.bytes());
}

const float* partial_row(const Pass& p, int layer, std::int64_t t, std::int64_t position) {
  const Token& token = p.token(t);
  if (position < p.batch->start(token)) return p.batch->state(token).partial(layer, position);
  const std::int64_t row = token.row - (token.position - position);
  return p.w.partial.data() + row * static_cast<std::int64_t>(partial_floats(p, layer));
}

// The newest rows of each item: as many as the rings hold.
void keep_rows(Pass& p, int layer) {
  const std::size_t row_bytes = p.layout().window_row.bytes(), floats = partial_floats(p, layer);
  const std::int64_t slots = p.layout().layers[static_cast<std::size_t>(layer)].partial_slots;
  for (std::size_t i = 0; i < p.batch->items().size(); ++i) {
    kv::State& state = *p.batch->items()[i].state;
    const auto n = static_cast<std::int64_t>(p.batch->items()[i].tokens.size());
    const std::int64_t first = p.batch->first_row(i), start = state.length();
    for (std::int64_t t = std::max<std::int64_t>(0, n - p.layout().window_slots); t < n; ++t)
      std::memcpy(state.new_window_row(layer, start + t),
                  p.w.rows.data() + static_cast<std::size_t>(first + t) * row_bytes, row_bytes);
    for (std::int64_t t = std::max<std::int64_t>(0, n - slots); slots > 0 && t < n; ++t)
      std::memcpy(state.new_partial(layer, start + t),
                  p.w.partial.data() + static_cast<std::size_t>(first + t) * floats,
                  floats * sizeof(float));
  }
}

}  // namespace v4i::forward::cpu
