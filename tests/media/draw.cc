// SplitMix64 sizes and hashed pixels; see draw.h.
#include "tests/media/draw.h"

#include "lib/base/hash.h"
#include "tests/support/tiny_model.h"

namespace v4i::media {

namespace {

constexpr std::int64_t kMostPixels = std::int64_t{64} << 20;
constexpr std::uint8_t kPadding = 0xa5;

std::uint8_t byte_at(int kind, std::uint32_t x, std::uint32_t y, std::uint32_t c, std::uint32_t w,
                     std::uint32_t h, std::uint32_t seed) {
  std::uint32_t n = x * 0x9E3779B1u + y * 0x85EBCA77u + c * 0xC2B2AE3Du + seed * 0x27D4EB2Fu;
  n = (n ^ n >> 15) * 0x2C1B3CE1u;
  const std::uint32_t noise = (n ^ n >> 12) >> 24;
  if (kind == 0) return static_cast<std::uint8_t>(noise);
  if (kind == 1) return static_cast<std::uint8_t>((x * 191 / w + y * 191 / h) / 2 + noise / 4);
  return static_cast<std::uint8_t>(((x / 7 + y / 5 + c) & 1) * 255);
}

}  // namespace

std::uint64_t Sizes::number() {
  state_ += 0x9E3779B97F4A7C15u;
  std::uint64_t z = state_;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

std::pair<std::int64_t, std::int64_t> Sizes::next() {
  const auto side = [](std::uint64_t n) {
    return static_cast<std::int64_t>(1 + (n >> 16) % (std::uint64_t{2} << n % 16));
  };
  for (;;) {
    const std::int64_t w = side(number()), h = side(number());
    if (w * h <= kMostPixels) return {w, h};
  }
}

DrawnImage draw(int kind, std::int64_t width, std::int64_t height, int channels, std::uint32_t seed,
                std::int64_t padding) {
  DrawnImage out;
  const std::int64_t stride = width * channels + padding;
  out.bytes.assign(static_cast<std::size_t>(stride * height), kPadding);
  const auto w = static_cast<std::uint32_t>(width), h = static_cast<std::uint32_t>(height);
  for (std::uint32_t y = 0; y < h; ++y) {
    std::uint8_t* row = out.bytes.data() + y * stride;
    for (std::uint32_t x = 0; x < w; ++x)
      for (int c = 0; c < channels; ++c)
        *row++ = byte_at(kind, x, y, static_cast<std::uint32_t>(c), w, h, seed);
  }
  out.pixels = {out.bytes.data(), width, height, stride, channels};
  return out;
}

ImagePlan plan_by_name(const std::string& name, std::int64_t width, std::int64_t height) {
  ImageLimits tiny;
  tiny.max_tokens = 64;
  tiny.min_pixels = 3136;
  if (name == "exp") return plan_image_exp(width, height, kExpLimits);
  return plan_image(width, height, name == "tiny" ? tiny : ImageLimits{});
}

std::string golden(const std::string& name) {
  return test::read_file(test::source_dir() + "/tests/media/golden/" + name);
}

std::string sha256_of(const void* data, std::size_t bytes) {
  Sha256 h;
  h.update(data, bytes);
  return to_hex(h.finish());
}

}  // namespace v4i::media
