// Lays the tokens of a run out; see batch.h.
#include "lib/forward/batch.h"

#include <algorithm>

namespace v4i::forward {

std::int64_t logits_tokens(const Item& item) {
  const auto n = static_cast<std::int64_t>(item.tokens.size());
  if (item.logits == nullptr) return 0;
  return item.all_logits ? n : std::min<std::int64_t>(n, 1);
}

std::int64_t output_tokens(const Item& item, bool taps) {
  if (item.hidden != nullptr) return static_cast<std::int64_t>(item.tokens.size());
  const std::int64_t tapped = taps && item.taps != nullptr ? item.tap_tokens : 0;
  return std::max(logits_tokens(item), tapped);
}

Batch::Batch(int max_tokens) {
  tokens_.reserve(static_cast<std::size_t>(max_tokens));
  first_row_.reserve(static_cast<std::size_t>(max_tokens));
}

namespace {

// What the media of an item say of its tokens, which lie at `tokens`.
void place_media(const Item& item, Token* tokens, std::int64_t width) {
  for (std::size_t m = 0; m < item.media.size(); ++m) {
    const MediaRows& rows = item.media_rows[m];
    for (std::int64_t i = 0; i < item.media[m].count; ++i) {
      Token& t = tokens[item.media[m].first + i];
      t.embedding = rows.rows + i * width;
      t.role = rows.role;
      t.visible_end = std::max(rows.visible_end, t.position + 1);
    }
  }
}

}  // namespace

void Batch::set(std::span<const Item> items, std::int64_t width) {
  items_ = items;
  tokens_.clear();
  first_row_.clear();
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    const auto first = static_cast<std::int32_t>(tokens_.size());
    const std::int64_t start = item.state->length();
    first_row_.push_back(first);
    for (std::size_t t = 0; t < item.tokens.size(); ++t) {
      const std::int64_t position = start + static_cast<std::int64_t>(t);
      tokens_.push_back({static_cast<std::int32_t>(i), item.tokens[t], position,
                         first + static_cast<std::int32_t>(t), 0, position + 1, nullptr});
    }
    place_media(item, tokens_.data() + first, width);
  }
}

std::int64_t Batch::tap_of(const Token& t) const {
  const Item& item = items_[static_cast<std::size_t>(t.item)];
  if (item.taps == nullptr) return -1;
  const auto n = static_cast<std::int64_t>(item.tokens.size());
  const std::int64_t first = first_row_[static_cast<std::size_t>(t.item)] + n - item.tap_tokens;
  return t.row < first ? -1 : t.row - first;
}

void Batch::set_outputs_of(const Batch& all, bool taps) {
  items_ = all.items_;
  first_row_ = all.first_row_;
  tokens_.clear();
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const std::int64_t end = first_row_[i] + static_cast<std::int64_t>(items_[i].tokens.size());
    for (std::int64_t row = end - output_tokens(items_[i], taps); row < end; ++row)
      tokens_.push_back(all.tokens_[static_cast<std::size_t>(row)]);
  }
}

}  // namespace v4i::forward
