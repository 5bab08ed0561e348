// The table of the plug-in, and what a file is by its first bytes.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "lib/media/codecs/codec.h"

namespace v4i::media::codecs {
namespace {

struct Format {
  const char* name;
  std::size_t at;  // where its mark is
  const char* mark;
  std::size_t mark_bytes;
  int bit;  // 0: known by its name only
};

#define V4I_MARK(text) text, sizeof(text) - 1

constexpr Format kFormats[] = {
    {"PNG", 0, V4I_MARK("\x89PNG\r\n\x1a\n"), V4I_IMAGES_PNG},
    {"JPEG", 0, V4I_MARK("\xff\xd8\xff"), V4I_IMAGES_JPEG},
    {"WebP", 8, V4I_MARK("WEBPVP8"), V4I_IMAGES_WEBP},
    {"GIF", 0, V4I_MARK("GIF8"), 0},
    {"BMP", 0, V4I_MARK("BM"), 0},
    {"TIFF", 0, V4I_MARK("II*\0"), 0},
    {"TIFF", 0, V4I_MARK("MM\0*"), 0},
    {"AVIF", 4, V4I_MARK("ftypavi"), 0},
    {"HEIF", 4, V4I_MARK("ftyphei"), 0},
    {"HEIF", 4, V4I_MARK("ftypmif1"), 0},
    {"JPEG XL", 0, V4I_MARK("\xff\x0a"), 0},
    {"JPEG XL", 4, V4I_MARK("JXL "), 0},
    {"JPEG 2000", 4, V4I_MARK("jP  "), 0},
    {"JPEG 2000", 0, V4I_MARK("\xff\x4f\xff\x51"), 0},
    {"ICO", 0, V4I_MARK("\0\0\1\0"), 0},
    {"PSD", 0, V4I_MARK("8BPS"), 0},
    {"SVG", 0, V4I_MARK("<svg"), 0},
    {"XML", 0, V4I_MARK("<?xml"), 0},
    {"PDF", 0, V4I_MARK("%PDF"), 0},
    {"PPM", 0, V4I_MARK("P6"), 0},
};

const Format kUnknown = {"", 0, "", 0, 0};

const Codec* const kCodecs[] = {
#if defined(V4I_IMAGES_HAS_PNG)
    &kPng,
#endif
#if defined(V4I_IMAGES_HAS_JPEG)
    &kJpeg,
#endif
#if defined(V4I_IMAGES_HAS_WEBP)
    &kWebp,
#endif
};

const Format& format_of(const v4i_images_file& file) {
  for (const Format& f : kFormats) {
    if (file.bytes < f.at + f.mark_bytes) continue;
    if (std::memcmp(file.data + f.at, f.mark, f.mark_bytes) != 0) continue;
    if (f.bit == V4I_IMAGES_WEBP && std::memcmp(file.data, "RIFF", 4) != 0) continue;
    return f;
  }
  return kUnknown;
}

[[noreturn]] void fail_unknown(Call& call) {
  if (call.file->bytes == 0) fail(call, V4I_IMAGES_DAMAGED, "it is empty");
  char bytes[8 * 3 + 1] = "";
  const std::size_t n = std::min<std::size_t>(call.file->bytes, 8);
  for (std::size_t i = 0; i < n; ++i)
    std::snprintf(bytes + 3 * i, 4, " %02x", unsigned{call.file->data[i]});
  fail(call, V4I_IMAGES_DAMAGED, "its %zu bytes begin with%s; PNG, JPEG and WebP are decoded",
       call.file->bytes, bytes);
}

const Codec& codec_of(Call& call, const Format& format) {
  for (const Codec* c : kCodecs)
    if (c->bit == format.bit) return *c;
  if (format.bit != 0)
    fail(call, V4I_IMAGES_UNSUPPORTED, "this libv4infer-images.so was built without its codec");
  if (*format.name == '\0') fail_unknown(call);
  fail(call, V4I_IMAGES_UNSUPPORTED, "it is not decoded; give PNG, JPEG or WebP");
}

int probe(const v4i_images_file* file, const v4i_images_host* host, v4i_images_info* out, char* why,
          std::size_t why_bytes) {
  const Format& format = format_of(*file);
  *out = {format.name, 0, 0};
  Call call;
  call.file = file;
  call.host = host;
  call.why = why;
  call.why_bytes = why_bytes;
  return run(call, [&](Call& c) { codec_of(c, format).read_size(c, out); });
}

int decode(const v4i_images_file* file, const v4i_images_host* host, const v4i_images_info* info,
           std::uint8_t* rgb, char* why, std::size_t why_bytes) {
  Call call;
  call.file = file;
  call.host = host;
  call.why = why;
  call.why_bytes = why_bytes;
  return run(call, [&](Call& c) { codec_of(c, format_of(*file)).decode(c, *info, rgb); });
}

struct Table {
  v4i_images_api api{};
  char codecs[128] = "";

  Table() {
    api.bytes = sizeof(api);
    api.version = V4I_IMAGES_VERSION;
    api.codecs = codecs;
    api.probe = probe;
    api.decode = decode;
    for (const Codec* c : kCodecs) {
      api.formats |= static_cast<std::uint32_t>(c->bit);
      std::size_t used = std::strlen(codecs);
      if (used > 0) used += std::strlen(std::strcpy(codecs + used, ", "));
      c->name(codecs + used, sizeof(codecs) - used);
    }
  }
};

}  // namespace

void fail(Call& call, int result, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(call.why, call.why_bytes, format, arguments);
  va_end(arguments);
  for (char* c = call.why; *c != '\0'; ++c)  // names of chunks are the file's
    if (*c < ' ' || *c > '~') *c = '?';
  call.result = result;
  std::longjmp(call.jump, 1);
}

void fail_size(Call& call, std::uint64_t width, std::uint64_t height) {
  fail(call, V4I_IMAGES_DAMAGED, "it holds %llu x %llu pixels, its header says otherwise",
       static_cast<unsigned long long>(width), static_cast<unsigned long long>(height));
}

}  // namespace v4i::media::codecs

extern "C" __attribute__((visibility("default"))) const v4i_images_api* v4i_images_plugin() {
  static const v4i::media::codecs::Table table;
  return &table.api;
}
