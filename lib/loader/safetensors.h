// safetensors: the header of one file, as a list of tensors.
//
//   8 bytes   little-endian length n of the header
//   n bytes   JSON: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [a, b]}, ...,
//             "__metadata__": {"key": "text"}}, padded with spaces
//   rest      tensor bytes; offsets count from here
//
// The bytes may come from anyone.  What read_header() returns is safe to use: each
// range lies inside the file and has exactly the size its shape and dtype ask for,
// ranges do not overlap and leave no gap (the format forbids both), and the product
// of a shape does not overflow.  Anything else is Error(kFormat), one sentence.
//
// Pure function; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/tensor/tensor.h"

namespace v4i::loader {

struct HeaderEntry {
  std::string name;  // as written in the file
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // byte range in the file
};

// `path` is for messages only.  Entries come in file order of the header.
std::vector<HeaderEntry> read_header(std::span<const std::byte> file, const std::string& path);

}  // namespace v4i::loader
