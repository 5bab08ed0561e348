// The parts of an image file, to be damaged and put together again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace v4i::media {

// PNG: the signature, then chunks with their lengths and checksums.  JPEG: SOI, then markers with
// all that lies before the next one (entropy-coded data too).  WebP: the RIFF header, then chunks.
// What is behind the last part that is whole is one more part.
std::vector<std::string> parts_of(const std::string& file);
// The parts in a row; checksums of a PNG and the length of a RIFF become right.
std::string joined(std::vector<std::string> parts);

}  // namespace v4i::media
