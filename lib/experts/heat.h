// Heat: how likely each expert is to be used by the next token.
//
// An average of what tokens used, older ones counting less: kNow of it forgets half in eight
// tokens, since neighbouring tokens use the same experts, the rest in a thousand, since experts are
// popular for good.  (examples/nano: docs/performance.md has the hit rates of this, of either
// alone and of least recently used.)  All layers are met once a token, in order, so an expert is
// expected back after the layers up to its own and, for every token that passes it by, all layers.
//
// One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/hash.h"
#include "lib/experts/experts.h"

namespace v4i::experts {

class Heat {
 public:
  static constexpr float kNow = 0.5f;
  static constexpr float kNowTokens = 8, kEverTokens = 1024;  // half-lives

  // `now`: how much the last tokens count, beside those of long ago.
  Heat(int layers, std::int32_t experts, float now = kNow);

  // A layer used `ids` for some tokens.
  void used(int layer, std::span<const std::int32_t> ids, const Uses& uses);
  // Of the next token to use it, 0 to 1.
  float chance(int layer, std::int32_t id) const;
  // Tokens until it is used, expected while `now` is in work; what was used a moment ago by `now`
  // waits for the next token.
  float next_use(int layer, std::int32_t id, int now) const {
    return ahead(layer, now) + 1 / std::max(chance(layer, id), kLeast) - 1;
  }
  // From layer `now` to the next time that `layer` is in work, in tokens; 0 to 1.
  float ahead(int layer, int now) const {
    const int n = layer > now ? layer - now : layer - now + layers_;
    return static_cast<float>(n) / static_cast<float>(layers_);
  }

  // As bytes, with a checksum and the name of the model.
  std::string save(const Digest& model) const;
  // False, and nothing changes, when these are other bytes than save() gives for this model.
  bool restore(std::string_view bytes, const Digest& model);

 private:
  static constexpr float kLeast = 1e-6f;
  std::size_t at(int layer, std::int32_t id) const {
    return static_cast<std::size_t>(layer) * static_cast<std::size_t>(experts_) +
           static_cast<std::size_t>(id);
  }

  int layers_;
  std::int32_t experts_;
  float now_share_;
  std::vector<float> now_, ever_;  // shares of the tokens
};

}  // namespace v4i::experts
