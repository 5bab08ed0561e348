// Fits, pads, normalises and cuts an image; see patches.h.
#include "lib/media/patches.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>

#include "lib/base/error.h"

namespace v4i::media {

namespace {

constexpr std::uint8_t kGray = 127;

void check_plan(const Pixels& pixels, const ImagePlan& plan) {
  check_pixels(pixels);
  if (pixels.width != plan.width || pixels.height != plan.height)
    fail(Code::kInvalid, "an image is {} x {} pixels, but its plan is for {} x {}", pixels.width,
         pixels.height, plan.width, plan.height);
}

float round_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u);
}

std::array<float, 256> values_of_bytes() {
  std::array<float, 256> out;
  for (int v = 0; v < 256; ++v)
    out[static_cast<std::size_t>(v)] = round_bf16((static_cast<float>(v) / 255.0f - 0.5f) / 0.5f);
  return out;
}

void add_number(Sha256& h, std::int64_t v) {
  std::uint8_t bytes[8];  // little-endian
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(v >> (8 * i) & 0xff);
  h.update(bytes, sizeof bytes);
}

}  // namespace

ImageKey image_key(const Pixels& pixels, const ImagePlan& p) {
  check_plan(pixels, p);
  constexpr std::string_view kName = "v4infer image\n";
  Sha256 h;
  h.update(kName.data(), kName.size());
  for (const std::int64_t v :
       {std::int64_t{kPreprocessing}, p.width, p.height, p.box_width, p.box_height, p.fit_width,
        p.fit_height, p.fit_x, p.fit_y, p.patch, p.merge, p.tokens})
    add_number(h, v);
  constexpr std::int64_t kPiece = 1024;  // pixels
  std::uint8_t rgb[3 * kPiece];
  for (std::int64_t y = 0; y < pixels.height; ++y) {
    const std::uint8_t* row = pixels.data + y * pixels.stride;
    for (std::int64_t x = 0; x < pixels.width; x += kPiece) {
      const std::int64_t n = std::min(kPiece, pixels.width - x);
      for (std::int64_t i = 0; i < n; ++i)
        std::memcpy(rgb + 3 * i, row + (x + i) * pixels.channels, 3);
      h.update(rgb, static_cast<std::size_t>(3 * n));
    }
  }
  return h.finish();
}

Buffer<std::uint8_t> fit_image(const Pixels& pixels, const ImagePlan& plan, Budget& budget) {
  check_plan(pixels, plan);
  const std::int64_t stride = 3 * plan.box_width;
  Buffer<std::uint8_t> box(budget, static_cast<std::size_t>(stride * plan.box_height),
                           Use::kScratch, "an image");
  if (plan.fit_width != plan.box_width || plan.fit_height != plan.box_height)
    std::fill(box.begin(), box.end(), kGray);
  resize_bicubic(pixels, plan.fit_width, plan.fit_height,
                 box.data() + plan.fit_y * stride + 3 * plan.fit_x, stride, budget);
  return box;
}

Buffer<float> patches_of(const std::uint8_t* box, const ImagePlan& plan, Budget& budget) {
  const std::array<float, 256> value = values_of_bytes();
  const std::int64_t p = plan.patch, stride = 3 * plan.box_width;
  Buffer<float> out(budget, static_cast<std::size_t>(plan.patches() * 3 * p * p), Use::kScratch,
                    "the patches of an image");
  float* to = out.data();
  for (std::int64_t row = 0; row < plan.grid_height; ++row)
    for (std::int64_t column = 0; column < plan.grid_width; ++column)
      for (std::int64_t channel = 0; channel < 3; ++channel)
        for (std::int64_t y = row * p; y < (row + 1) * p; ++y) {
          const std::uint8_t* from = box + y * stride + 3 * column * p + channel;
          for (std::int64_t x = 0; x < p; ++x) *to++ = value[from[3 * x]];
        }
  return out;
}

Buffer<float> image_patches(const Pixels& pixels, const ImagePlan& plan, Budget& budget) {
  const Buffer<std::uint8_t> box = fit_image(pixels, plan, budget);
  return patches_of(box.data(), plan, budget);
}

}  // namespace v4i::media
