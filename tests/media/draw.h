// The sizes and pixels of make_golden.py, drawn again.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/media/image_plan.h"
#include "lib/media/resample.h"

namespace v4i::media {

// Every magnitude of width and height up to 65,536 alike.
class Sizes {
 public:
  explicit Sizes(std::uint64_t seed) : state_(seed) {}
  std::pair<std::int64_t, std::int64_t> next();

 private:
  std::uint64_t number();
  std::uint64_t state_;
};

// An image that owns its pixels; `padding` bytes lie between its rows.
struct DrawnImage {
  std::vector<std::uint8_t> bytes;
  Pixels pixels;
};
DrawnImage draw(int kind, std::int64_t width, std::int64_t height, int channels, std::uint32_t seed,
                std::int64_t padding = 0);

// "v41", "exp" or "tiny".
ImagePlan plan_by_name(const std::string& name, std::int64_t width, std::int64_t height);

std::string golden(const std::string& name);  // the text of a file of tests/media/golden
std::string sha256_of(const void* data, std::size_t bytes);

}  // namespace v4i::media
