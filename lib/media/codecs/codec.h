// The codecs that there may be; which of them there are is V4I_IMAGES_HAS_PNG, _JPEG, _WEBP.
#pragma once

#include "lib/media/codecs/call.h"

namespace v4i::media::codecs {

struct Codec {
  int bit;                                      // V4I_IMAGES_PNG
  void (*name)(char* text, std::size_t bytes);  // "libpng 1.6.39"
  // Both end by fail() or return.  `size` is filled by the first; the second makes sure of it.
  void (*read_size)(Call& call, v4i_images_info* size);
  void (*decode)(Call& call, const v4i_images_info& size, std::uint8_t* rgb);
};

extern const Codec kPng, kJpeg, kWebp;

// The end of decode(): it found another size than read_size().
[[noreturn]] void fail_size(Call& call, std::uint64_t width, std::uint64_t height);

}  // namespace v4i::media::codecs
