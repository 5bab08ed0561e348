// Hash: which rows of the Engram tables a window of token classes selects.  Spec: engram.md 3.
//
// For each order n of 2 to max_ngram the newest n classes, each times a multiplier of the layer,
// are xor-ed together; the sum modulo a prime is a row of one head's part of the table.  Columns
// are (order, head), order first; a table has the columns' parts one behind the other.
//
// Immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/engram/numbers.h"
#include "lib/model/config.h"

namespace v4i::engram {

// In a window: before the first token, or a position that is no text, such as an image's.
inline constexpr std::int32_t kDead = -1;

class Hash {
 public:
  // `classes` different ones, of which `pad` stands for dead positions; `name` is for messages.
  // Error(kFormat) when the primes do not add up to engram_num_embeddings.
  Hash(const model::EngramConfig& config, std::int32_t pad, const std::string& name);

  std::size_t layers() const { return layers_.size(); }
  std::int64_t columns() const { return columns_; }  // (max_ngram - 1) * heads
  std::int64_t max_ngram() const { return max_ngram_; }

  // Of the engram layer `layer`, for one window: max_ngram classes, newest first.  Behind a dead
  // position everything is dead.  `out` has columns().
  void rows(std::size_t layer, const std::int32_t* window, std::int32_t* out) const;

  std::span<const std::uint64_t> multipliers(std::size_t layer) const;
  std::uint64_t prime(std::size_t layer, std::int64_t column) const {
    return layers_[layer].parts[static_cast<std::size_t>(column)].prime.divisor();
  }

 private:
  struct Part {  // of a column
    Modulo prime;
    std::int32_t begin = 0;
  };
  struct Layer {
    std::vector<std::uint64_t> multipliers;
    std::vector<Part> parts;
  };
  std::int64_t max_ngram_, heads_, columns_;
  std::int32_t classes_, pad_;
  std::vector<Layer> layers_;
};

// Windows of the positions [first, classes.size()) of a sequence, max_ngram entries each; `classes`
// has kDead where there is no text.
void fill_windows(std::span<const std::int32_t> classes, std::size_t first, std::int64_t max_ngram,
                  std::int32_t* out);

}  // namespace v4i::engram
