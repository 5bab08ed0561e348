// ImageCase: token ids with images between them, as tests/oracle/make_tiny_v41.py writes them.
//
// case_image.json   {"ids", "images": [{"start", "grid_h", "grid_w"}], and "roles", if there: of
// each
//                   id -1 for text, 0 and 3 for the first and the last of an image}
// images.safetensors beside it: image.N.patches [grid_h * grid_w, ...], bf16 or float32, from -1 to
// 1
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common.h"

namespace cli {

// Text, or an image.
struct CasePart {
  v4infer::Tokens ids;         // of an image, those that stand for it
  std::vector<float> patches;  // empty: text
  std::uint32_t grid_width = 0, grid_height = 0;

  bool image() const { return !patches.empty(); }
  v4i_image view() const;  // valid while this object lives where it is
};

// A Failure that names the file, and the tensor, for what is not one.
std::vector<CasePart> read_case(const std::string& path);

}  // namespace cli
