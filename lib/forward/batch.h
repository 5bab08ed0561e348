// Batch: what one run computes.  It holds no activations and does not change while the run lasts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/kv/state.h"

namespace v4i::forward {

// Embeddings that take the place of those of some tokens' ids: of an image, say.
struct MediaRows {
  const float* rows = nullptr;   // host memory, [count, width] of the kv::Media beside it
  std::uint8_t role = 0;         // which router bias these tokens use; 0: that of text
  std::int64_t visible_end = 0;  // end of the positions that they attend to; 0: their own past
};

// One sequence's share of a batch: `tokens` follow state->length().
struct Item {
  kv::State* state = nullptr;
  std::span<const std::int32_t> tokens;
  // Where logits go, float32: nullptr, [vocab] of the last token, or with
  // all_logits [tokens, vocab].
  float* logits = nullptr;
  bool all_logits = false;
  // nullptr, or [tokens, hc_mult, width]: streams after the last layer (drafting).
  float* hidden = nullptr;
  // Tokens that stand for media, rising, `first` counted in `tokens`; one of media_rows for each.
  std::span<const kv::Media> media{};
  std::span<const MediaRows> media_rows{};
  // nullptr, or [tap_tokens, taps, width]: what DSpark reads of the item's last `tap_tokens`
  // tokens, the mean of their streams at its target layers, rising.
  float* taps = nullptr;
  std::int64_t tap_tokens = 0;
  // Computes the layers up to Plan::outputs_from and that layer's rows: what later tokens read of
  // these.  For all items of a run or none; without logits and hidden.
  bool rows_only = false;
};

struct Token {
  std::int32_t item = 0;             // in Batch::items()
  std::int32_t id = 0;               // vocabulary
  std::int64_t position = 0;         // in its sequence
  std::int32_t row = 0;              // its index among all tokens of the run
  std::uint8_t role = 0;             // router bias
  std::int64_t visible_end = 0;      // it sees positions below; position + 1 unless it sees ahead
  const float* embedding = nullptr;  // host memory, [width]; null: its id's
};

class Batch {
 public:
  explicit Batch(int max_tokens);

  std::span<const Item> items() const { return items_; }
  const std::vector<Token>& tokens() const { return tokens_; }  // item after item
  std::int64_t n() const { return static_cast<std::int64_t>(tokens_.size()); }
  kv::State& state(const Token& t) const { return *items_[static_cast<std::size_t>(t.item)].state; }
  // Index among all tokens of the run of an item's first one.
  std::int32_t first_row(std::size_t item) const { return first_row_[item]; }
  // Position of the first token of this run in t's sequence.
  std::int64_t start(const Token& t) const {
    return t.position - (t.row - first_row_[static_cast<std::size_t>(t.item)]);
  }

  // Of a token whose item has taps for it, which of them; else -1.
  std::int64_t tap_of(const Token& t) const;

  // For Forward, between runs.  Room for max_tokens was made at construction.  `width`: floats of
  // an embedding.
  void set(std::span<const Item> items, std::int64_t width);
  // Those tokens of `all` that have outputs, taps among them where `taps` says so: nobody reads the
  // streams of the others after the last layer.
  void set_outputs_of(const Batch& all, bool taps);

 private:
  std::span<const Item> items_;
  std::vector<Token> tokens_;
  std::vector<std::int32_t> first_row_;
};

// How many of an item's last tokens have outputs, and how many of these logits.
std::int64_t output_tokens(const Item& item, bool taps);
std::int64_t logits_tokens(const Item& item);

}  // namespace v4i::forward
