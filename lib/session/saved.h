// Saved sessions: the bytes of Session::save().
//
//   SavedHeader          fixed size, its last field a checksum of what precedes it
//   tokens               int32 [token_count], checksum64
//   images               of version 4: uint64 count, checksum64; then of each a SavedImage and
//                        its rows, float32 [count, width], each with checksum64
//   logits               float32 [vocab] when has_logits, checksum64
//   KV state             kv::State::save(), with checksums of its own
//   end mark             uint64, so that a cut file is noticed
//
// Little-endian.  A session without images has version 3, one with images version 4; others are
// refused.
#pragma once

#include <cstdint>

namespace v4i::session {

inline constexpr char kSavedMagic[8] = {'V', '4', 'I', 'S', 'E', 'S', 'S', '\n'};
inline constexpr std::uint32_t kSavedVersion = 3, kSavedImagesVersion = 4;
inline constexpr std::uint64_t kSavedEnd = 0x0a646e6553493456ull;  // "V4ISend\n"

struct SavedHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t numerics;     // forward::Numerics
  std::uint8_t model[32];     // the model's digest
  std::uint8_t identity[32];  // Context::identity()
  char backend[32];           // its identity, zero-terminated
  std::uint64_t token_count;
  std::uint64_t position;   // tokens the KV state has seen
  std::uint64_t text_from;  // first token of the text that is being streamed
  std::uint64_t seed;
  std::int32_t finish;
  std::uint32_t has_logits;  // 0 or 1
  std::uint64_t checksum;    // checksum64 of everything before
};
static_assert(sizeof(SavedHeader) == 160, "no holes: the bytes are the format");

// Tokens [first, first + count) are those of an image's span from `row` on.
struct SavedImage {
  std::int64_t first, count, row;
  std::uint8_t content[32];
};
static_assert(sizeof(SavedImage) == 56, "no holes: the bytes are the format");

}  // namespace v4i::session
