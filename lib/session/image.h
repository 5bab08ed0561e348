// Image: what an appended image becomes, for the sessions that hold it.
//
// Its patches are made when it is appended; its embeddings when they are first computed with, by
// whoever holds the engine's compute lock.  They stay as long as a session has the image, since its
// tokens may be computed again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/base/hash.h"
#include "lib/forward/forward.h"
#include "lib/media/patches.h"

namespace v4i::session {

class Image {
 public:
  // Error(kInvalid) for pixels or sizes that make no sense, kNoMemory.
  Image(const model::Config& config, const media::Pixels& pixels, const media::ImagePlan& plan,
        Budget& budget);
  // Of patches [grid_height * grid_width, 3 * patch * patch], as the image tower reads them.
  Image(const model::Config& config, std::int64_t grid_height, std::int64_t grid_width,
        const float* patches, Budget& budget);
  // Saved ones: rows [first, first + count) of its embeddings, to be filled.
  Image(const Digest& content, std::int64_t first, std::int64_t count, std::int64_t width,
        Budget& budget);

  const Digest& content() const { return content_; }
  std::int64_t tokens() const { return tokens_; }
  // Under the compute lock.  Error(kCancelled), kUnsupported, kFormat, kNoMemory: nothing changes.
  void encode(forward::Forward& forward, const CancelFlag* cancel);
  bool encoded() const { return encoded_.load(std::memory_order_acquire); }  // any thread
  // Embeddings from token `row` of its span on, [.., width]; once it is encoded.
  const float* rows(std::int64_t row) const { return rows_.data() + (row - first_) * width_; }
  float* rows(std::int64_t row) { return rows_.data() + (row - first_) * width_; }

 private:
  void set_grid(const model::Config& config, std::int64_t grid_height, std::int64_t grid_width);

  Budget& budget_;
  Digest content_{};
  std::int64_t width_ = 0, tokens_ = 0, first_ = 0;
  std::int64_t grid_height_ = 0, grid_width_ = 0, columns_ = 0, cell_rows_ = 0;
  Buffer<float> patches_;
  Buffer<float> rows_;
  std::atomic<bool> encoded_{false};  // rows_ are there, and stay
};

// An image's place in a timeline: tokens [first, first + count) are those of its span from `row`
// on.
struct Placed {
  std::int64_t first = 0, count = 0, row = 0;
  std::shared_ptr<Image> image;
};

// Tokens in which every image has become its span: what append_media(), sync_media() and
// eval_media() of a session take.  Places count from the first token of the prompt.
struct Prompt {
  std::vector<std::int32_t> tokens;
  std::vector<Placed> images;  // rising, apart
};

constexpr std::int64_t kFewestImageTokens = 19;  // that a limit of an image may allow

// Limits of the model, with fewer tokens where `max_tokens` is neither 0 nor more than the model's.
// Error(kInvalid) when it is below kFewestImageTokens.
media::ImageLimits image_limits(const model::Config& config, std::int64_t max_tokens = 0);

}  // namespace v4i::session
