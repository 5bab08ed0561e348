// ImageFiles: PNG, JPEG and WebP bytes to pixels, as Pillow's convert("RGB") gives them.
//
// The codecs are a plug-in, libv4infer-images.so (codecs/plugin.h), opened at the first file.  Any
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "lib/base/budget.h"
#include "lib/media/resample.h"

namespace v4i::media {

class CodecLibrary;

enum ImageFormats : std::uint32_t { kPng = 1, kJpeg = 2, kWebp = 4 };  // bits

// What a file says it is.
struct ImageHeader {
  std::string format;  // "PNG", "JPEG", "WebP"
  std::int64_t width = 0, height = 0;
};

struct DecodedImage {
  Buffer<std::uint8_t> rgb;  // [height, width, 3]
  std::int64_t width = 0, height = 0;

  Pixels pixels() const { return {rgb.data(), width, height, 3 * width, 3}; }
};

class ImageFiles {
 public:
  // `path` of the plug-in; empty: it is looked for as base/plugin.h says.
  explicit ImageFiles(std::string path = {});
  ~ImageFiles();

  // Those that are decoded: bits of ImageFormats.  Error(kUnsupported): there is no plug-in.
  std::uint32_t formats();

  // Both: Error(kUnsupported) for no plug-in and for formats that it does not decode, kFormat for
  // files that are damaged, cut off or none at all, kNoMemory.  probe() reads the header: its
  // sizes are those of a stranger, to be refused (plan_image) before decode() takes memory for
  // them.  Memory of the codecs is granted by the budget too, and back when they return.
  ImageHeader probe(std::span<const std::uint8_t> file, Budget& budget);
  DecodedImage decode(std::span<const std::uint8_t> file, const ImageHeader& header,
                      Budget& budget);

 private:
  const CodecLibrary& library();

  std::mutex mutex_;
  std::string path_;
  std::unique_ptr<const CodecLibrary> library_;
};

}  // namespace v4i::media
