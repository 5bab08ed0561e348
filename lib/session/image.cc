// Patches and embeddings of an image; see image.h.
#include "lib/session/image.h"

#include <algorithm>
#include <string_view>

#include "lib/base/error.h"
#include "lib/media/span.h"

namespace v4i::session {

namespace {

constexpr const char* kWhat = "the embeddings of an image";

std::size_t patch_floats(const model::Config& config) {
  return static_cast<std::size_t>(3 * config.vision.patch * config.vision.patch);
}

Digest patches_key(std::int64_t grid_height, std::int64_t grid_width, const float* patches,
                   std::size_t floats) {
  constexpr std::string_view kTag = "v4infer patches 1";
  const std::int64_t grid[2] = {grid_height, grid_width};
  Sha256 h;
  h.update(kTag.data(), kTag.size());
  h.update(grid, sizeof grid);
  h.update(patches, floats * sizeof(float));
  return h.finish();
}

const float* delimiter(const model::VisionWeights& w, media::Role role) {
  return role == media::Role::kStart     ? w.start.data()
         : role == media::Role::kNewline ? w.newline.data()
                                         : w.end.data();
}

}  // namespace

media::ImageLimits image_limits(const model::Config& config, std::int64_t max_tokens) {
  const model::VisionConfig& v = config.vision;
  if (max_tokens != 0 && max_tokens < kFewestImageTokens)
    fail(Code::kInvalid,
         "an image is limited to {} tokens, expected 0 (the model's {}) or {} and more", max_tokens,
         v.max_tokens, kFewestImageTokens);
  media::ImageLimits limits;
  limits.patch = v.patch;
  limits.merge = v.downsample;
  limits.max_tokens = max_tokens == 0 ? v.max_tokens : std::min(max_tokens, v.max_tokens);
  limits.min_pixels = v.min_pixels;
  limits.max_wh_ratio = v.max_wh_ratio;
  return limits;
}

void Image::set_grid(const model::Config& config, std::int64_t grid_height,
                     std::int64_t grid_width) {
  const std::int64_t cell = config.vision.downsample;
  width_ = config.width;
  grid_height_ = grid_height;
  grid_width_ = grid_width;
  cell_rows_ = (grid_height + cell - 1) / cell;
  columns_ = (grid_width + cell - 1) / cell;
  tokens_ = cell_rows_ * (columns_ + 1) + 2;
}

Image::Image(const model::Config& config, const media::Pixels& pixels, const media::ImagePlan& plan,
             Budget& budget)
    : budget_(budget),
      content_(media::image_key(pixels, plan)),
      patches_(media::image_patches(pixels, plan, budget)) {
  set_grid(config, plan.grid_height, plan.grid_width);
  V4I_CHECK(tokens_ == plan.tokens);
}

Image::Image(const model::Config& config, std::int64_t grid_height, std::int64_t grid_width,
             const float* patches, Budget& budget)
    : budget_(budget) {
  set_grid(config, grid_height, grid_width);
  const std::size_t n = static_cast<std::size_t>(grid_height * grid_width) * patch_floats(config);
  content_ = patches_key(grid_height, grid_width, patches, n);
  patches_ = Buffer<float>(budget, n, Use::kScratch, "the patches of an image");
  std::copy_n(patches, n, patches_.data());
}

Image::Image(const Digest& content, std::int64_t first, std::int64_t count, std::int64_t width,
             Budget& budget)
    : budget_(budget),
      content_(content),
      width_(width),
      tokens_(first + count),
      first_(first),
      rows_(budget, static_cast<std::size_t>(count * width), Use::kKv, kWhat),
      encoded_(true) {}

void Image::encode(forward::Forward& forward, const CancelFlag* cancel) {
  if (encoded()) return;
  const auto d = static_cast<std::size_t>(width_);
  Buffer<float> cells(budget_, static_cast<std::size_t>(cell_rows_ * columns_) * d, Use::kScratch,
                      kWhat);
  Buffer<float> rows(budget_, static_cast<std::size_t>(tokens_) * d, Use::kKv, kWhat);
  forward.encode_image(grid_height_, grid_width_, patches_.data(), cells.data(), cancel);
  media::ImagePlan plan;
  plan.rows = cell_rows_;
  plan.columns = columns_;
  plan.tokens = tokens_;
  float* to = rows.data();
  for (const media::SpanToken& t : media::span_of(plan)) {
    const float* from = t.role == media::Role::kImage
                            ? cells.data() + static_cast<std::size_t>(t.cell) * d
                            : delimiter(forward.model().weights().vision, t.role);
    std::copy_n(from, d, to);
    to += d;
  }
  rows_ = std::move(rows);
  patches_ = {};
  encoded_.store(true, std::memory_order_release);
}

}  // namespace v4i::session
