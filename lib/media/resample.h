// Bicubic resizing, equal to Pillow's Image.resize(size, BICUBIC) of 8-bit RGB in every byte.
//
// Columns first, then rows, as Pillow up to 12.3 does it always.  Pillow 13 begins with the rows
// where that costs less (4 of 60 photo-like sizes); the roundings between the passes differ then.
#pragma once

#include <cstdint>

#include "lib/base/budget.h"

namespace v4i::media {

// Rows of pixels in the host's memory, not owned.
struct Pixels {
  const std::uint8_t* data = nullptr;
  std::int64_t width = 0, height = 0;
  std::int64_t stride = 0;  // bytes from one row to the next, at least width * channels
  int channels = 3;         // 3: red, green, blue; 4: and alpha, which is dropped, not blended
};

// Error(kInvalid) for no data, other channels, rows that overlap.
void check_pixels(const Pixels& pixels);

// Three bytes a pixel; row y at out + y * out_stride.  Holds a few of the image's rows at a time.
void resize_bicubic(const Pixels& in, std::int64_t out_width, std::int64_t out_height,
                    std::uint8_t* out, std::int64_t out_stride, Budget& budget);

}  // namespace v4i::media
