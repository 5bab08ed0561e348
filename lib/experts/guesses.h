// Guesses: how good the guesses at the next layer's experts are, so that bad ones are not read.
//
// Only guesses at experts that are not in memory count: the others cost nothing.  One thread at a
// time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace v4i::experts {

class Guesses {
 public:
  // Below this share of right ones a guess costs more than it spares: what is read in vain delays
  // what is needed as much as what is read in time hastens it.
  static constexpr float kWorth = 0.5f;

  // The next layer's guess is worth making: it will be read, or the share is to be measured again.
  bool wanted() { return right_ >= kWorth || ++skipped_ % kSample == 0; }
  bool good() const { return right_ >= kWorth; }
  float right() const { return right_; }

  // `missing`: the guesses for `layer` that are not in memory.
  void begin(int layer) {
    layer_ = layer;
    missing_.clear();
  }
  void add(std::int32_t id) { missing_.push_back(id); }
  // What the layer used, rising.
  void end(int layer, std::span<const std::int32_t> ids) {
    if (layer == layer_)
      for (const std::int32_t id : missing_) {
        const bool hit = std::binary_search(ids.begin(), ids.end(), id);
        right_ += (static_cast<float>(hit) - right_) / kMemory;
      }
    layer_ = -1;
  }
  void reserve(std::size_t experts) { missing_.reserve(experts); }

 private:
  static constexpr float kMemory = 64;  // guesses
  static constexpr unsigned kSample = 16;
  float right_ = 1;  // until it is known
  unsigned skipped_ = 0;
  int layer_ = -1;
  std::vector<std::int32_t> missing_;
};

}  // namespace v4i::experts
