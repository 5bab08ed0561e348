// ImagePlan: how large an image becomes, and how many tokens it costs.
//
// An image is fitted into a box of whole patches, the rest of the box is gray.  Patches become
// tokens cell by cell: `merge` x `merge` patches each.  Sizes are computed in double arithmetic
// with the roundings of the official image processors, since an off-by-one changes the number of
// tokens.
#pragma once

#include <cstdint>

namespace v4i::media {

// The numbers of a config's image tower; the defaults are those of V4.1-Flash.
struct ImageLimits {
  std::int64_t patch = 14;  // pixels on a side
  std::int64_t merge = 3;   // patches on a side of a token's cell
  std::int64_t max_tokens = 1024;
  std::int64_t min_pixels = 544 * 544;               // smaller images are enlarged to about that
  double max_wh_ratio = 0;                           // wider images are squeezed; 0: none are
  std::int64_t max_pixels = std::int64_t{64} << 20;  // of an image, and of its box
};
constexpr ImageLimits kExpLimits = {14, 3, 384, 384 * 384, 8};  // Vision-Exp's

struct ImagePlan {
  std::int64_t width = 0, height = 0;          // of the image, pixels
  std::int64_t box_width = 0, box_height = 0;  // multiples of `patch`
  std::int64_t fit_width = 0, fit_height = 0;  // the image inside the box
  std::int64_t fit_x = 0, fit_y = 0;           // its upper left corner
  std::int64_t patch = 0, merge = 0;
  std::int64_t grid_width = 0, grid_height = 0;  // patches
  std::int64_t columns = 0, rows = 0;            // cells, one IMAGE token each
  std::int64_t tokens = 0;                       // of the span; without Vision-Exp's leading pads

  std::int64_t patches() const { return grid_width * grid_height; }
  std::int64_t cells() const { return columns * rows; }
};

// V4.1.  Error(kInvalid) for sizes below 1, more than max_pixels, an image so narrow that nothing
// of it is left in its box, and limits that no image fits.
ImagePlan plan_image(std::int64_t width, std::int64_t height, const ImageLimits& limits);
// Vision-Exp, whose rows of cells come in pairs.
ImagePlan plan_image_exp(std::int64_t width, std::int64_t height, const ImageLimits& limits);

}  // namespace v4i::media
