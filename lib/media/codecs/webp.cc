// WebP by libwebp: lossy, lossless, alpha dropped; of an animation the first image on its canvas.
#include <webp/decode.h>
#include <webp/demux.h>

#include <cstdio>
#include <cstring>

#include "lib/media/codecs/codec.h"

namespace v4i::media::codecs {
namespace {

// Its memory is the Call's.
WebPDemuxer* open(Call& call) {
  const WebPData data = {call.file->data, call.file->bytes};
  WebPDemuxer* const container = WebPDemux(&data);
  if (container == nullptr)
    fail(call, V4I_IMAGES_DAMAGED, "the file ends early, or its chunks do not agree");
  return container;
}

void read_size(Call& call, v4i_images_info* size) {
  WebPDemuxer* const container = open(call);
  size->width = WebPDemuxGetI(container, WEBP_FF_CANVAS_WIDTH);
  size->height = WebPDemuxGetI(container, WEBP_FF_CANVAS_HEIGHT);
  if (size->width == 0 || size->height == 0)
    fail(call, V4I_IMAGES_DAMAGED, "it has %u x %u pixels", size->width, size->height);
}

[[noreturn]] void fail_with(Call& call, VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:  // by a limit of its own: allocate() does not return then
      fail(call, V4I_IMAGES_DAMAGED, "it wants more memory than any image needs");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      fail(call, V4I_IMAGES_UNSUPPORTED, "it uses a feature that libwebp does not have");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      fail(call, V4I_IMAGES_DAMAGED, "its data end early");
    default:
      fail(call, V4I_IMAGES_DAMAGED, "its data are damaged");
  }
}

void decode(Call& call, const v4i_images_info& size, std::uint8_t* rgb) {
  WebPDemuxer* const container = open(call);
  const std::size_t width = WebPDemuxGetI(container, WEBP_FF_CANVAS_WIDTH);
  const std::size_t height = WebPDemuxGetI(container, WEBP_FF_CANVAS_HEIGHT);
  if (width != size.width || height != size.height) fail_size(call, width, height);
  WebPIterator image;
  if (WebPDemuxGetFrame(container, 1, &image) == 0 || image.complete == 0)
    fail(call, V4I_IMAGES_DAMAGED, "it holds no image");
  const auto x = static_cast<std::size_t>(image.x_offset);
  const auto y = static_cast<std::size_t>(image.y_offset);
  const auto columns = static_cast<std::size_t>(image.width);
  const auto rows = static_cast<std::size_t>(image.height);
  if (x + columns > width || y + rows > height)
    fail(call, V4I_IMAGES_DAMAGED, "its first image lies outside of its canvas");
  if (columns != width || rows != height) std::memset(rgb, 0, 3 * width * height);
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    fail(call, V4I_IMAGES_UNSUPPORTED, "libwebp is of another version than its header");
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = rgb + 3 * (width * y + x);
  config.output.u.RGBA.stride = static_cast<int>(3 * width);
  config.output.u.RGBA.size = 3 * (width * (height - y) - x);
  const VP8StatusCode code = WebPDecode(image.fragment.bytes, image.fragment.size, &config);
  if (code != VP8_STATUS_OK) fail_with(call, code);
  if (config.output.width != image.width || config.output.height != image.height)
    fail_size(call, static_cast<std::uint64_t>(config.output.width),
              static_cast<std::uint64_t>(config.output.height));
}

void name(char* text, std::size_t bytes) {
  const int v = WebPGetDecoderVersion();
  std::snprintf(text, bytes, "libwebp %d.%d.%d", v >> 16, v >> 8 & 255, v & 255);
}

}  // namespace

const Codec kWebp = {V4I_IMAGES_WEBP, name, read_size, decode};

}  // namespace v4i::media::codecs
