// Patches: what the image tower reads.
#pragma once

#include <cstdint>

#include "lib/base/budget.h"
#include "lib/base/hash.h"
#include "lib/media/image_plan.h"
#include "lib/media/resample.h"

namespace v4i::media {

// Raised whenever an image's patches come out differently.
inline constexpr int kPreprocessing = 1;

// Names what the tower makes of an image: of its pixels (alpha and padding of rows left out), the
// plan and kPreprocessing.  The content of a kv::Media.
using ImageKey = Digest;
ImageKey image_key(const Pixels& pixels, const ImagePlan& plan);

// The image resized and put into its box, gray around it: RGB8 [box_height, box_width].
// Error(kInvalid) when `pixels` are not those that the plan was made for.
Buffer<std::uint8_t> fit_image(const Pixels& pixels, const ImagePlan& plan, Budget& budget);

// Of a box: float32 [patches, 3 * patch * patch] in reading order, a patch channel by channel.  A
// byte v becomes (v / 255 - 0.5) / 0.5, rounded to bf16.
Buffer<float> patches_of(const std::uint8_t* box, const ImagePlan& plan, Budget& budget);

// Both.
Buffer<float> image_patches(const Pixels& pixels, const ImagePlan& plan, Budget& budget);

}  // namespace v4i::media
