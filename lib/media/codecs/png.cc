// PNG by libpng.
//
// As Pillow: no gamma, alpha dropped, 16-bit colours cut to their high byte, 16-bit gray above 255
// white, colours that the palette lacks black; of an animated one the default image.  Stricter: a
// wrong checksum anywhere and a missing end are errors.
#include <png.h>

#include <cstdio>
#include <cstring>

#include "lib/media/codecs/codec.h"

namespace v4i::media::codecs {
namespace {

constexpr std::size_t kHeader = 33;               // signature, IHDR
constexpr png_alloc_size_t kMostChunk = 1 << 20;  // bytes of one that is kept: a palette has 768

std::uint32_t number(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

void read_size(Call& call, v4i_images_info* size) {
  const std::uint8_t* p = call.file->data;
  if (call.file->bytes < kHeader || std::memcmp(p + 12, "IHDR", 4) != 0 || number(p + 8) != 13)
    fail(call, V4I_IMAGES_DAMAGED, "it does not begin with a header (IHDR)");
  size->width = number(p + 16);
  size->height = number(p + 20);
  if (size->width == 0 || size->height == 0)
    fail(call, V4I_IMAGES_DAMAGED, "it has %u x %u pixels", size->width, size->height);
}

struct Input {
  Call* call;
  std::size_t at;
};

void read(png_structp png, png_bytep to, std::size_t n) {
  Input& in = *static_cast<Input*>(png_get_io_ptr(png));
  if (n > in.call->file->bytes - in.at) png_error(png, "the file ends early");
  std::memcpy(to, in.call->file->data + in.at, n);
  in.at += n;
}

void on_error(png_structp png, png_const_charp text) {
  fail(*static_cast<Call*>(png_get_error_ptr(png)), V4I_IMAGES_DAMAGED, "%s", text);
}

void on_warning(png_structp, png_const_charp) {}

// What the rows hold once libpng has done its part.
enum class Rows { kRgb, kGray16, kPalette };

Rows set_transforms(png_structp png, png_infop info) {
  const int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
  if (type == PNG_COLOR_TYPE_PALETTE) {
    png_set_packing(png);
    return Rows::kPalette;
  }
  if (type == PNG_COLOR_TYPE_GRAY && depth == 16) return Rows::kGray16;
  if (depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (depth == 16) png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
  return Rows::kRgb;
}

// A row that fills the beginning of its place becomes RGB, from its end on.
void spread_gray16(std::uint8_t* row, std::size_t width) {
  for (std::size_t x = width; x-- > 0;) {
    const std::uint8_t v = row[2 * x] == 0 ? row[2 * x + 1] : 255;
    std::memset(row + 3 * x, v, 3);
  }
}

void spread_palette(std::uint8_t* row, std::size_t width, const png_color* colors, int count) {
  for (std::size_t x = width; x-- > 0;) {
    const int i = row[x];
    const png_color c = i < count ? colors[i] : png_color{0, 0, 0};
    row[3 * x] = c.red;
    row[3 * x + 1] = c.green;
    row[3 * x + 2] = c.blue;
  }
}

void spread(png_structp png, png_infop info, Rows rows, std::uint8_t* row, std::size_t width) {
  png_colorp colors = nullptr;
  int count = 0;
  if (rows == Rows::kGray16) return spread_gray16(row, width);
  if (rows != Rows::kPalette) return;
  png_get_PLTE(png, info, &colors, &count);
  spread_palette(row, width, colors, count);
}

void decode(Call& call, const v4i_images_info& size, std::uint8_t* rgb) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &call, on_error, on_warning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  if (info == nullptr) fail(call, V4I_IMAGES_NO_MEMORY, "libpng does not start");
  Input in{&call, 0};
  png_set_read_fn(png, &in, read);
  png_set_user_limits(png, size.width, size.height);
  png_set_chunk_malloc_max(png, kMostChunk);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // texts, profiles, ...
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_check_for_invalid_index(png, 0);
  png_read_info(png, info);
  const std::size_t width = png_get_image_width(png, info);
  const std::size_t height = png_get_image_height(png, info);
  if (width != size.width || height != size.height) fail_size(call, width, height);
  const Rows rows = set_transforms(png, info);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) > 3 * width)
    fail(call, V4I_IMAGES_UNSUPPORTED, "its rows have %zu bytes, expected at most %zu",
         png_get_rowbytes(png, info), 3 * width);
  for (int pass = 0; pass < passes; ++pass)
    for (std::size_t y = 0; y < height; ++y) png_read_row(png, rgb + 3 * width * y, nullptr);
  png_read_end(png, nullptr);
  for (std::size_t y = 0; y < height; ++y) spread(png, info, rows, rgb + 3 * width * y, width);
}

void name(char* text, std::size_t bytes) {
  std::snprintf(text, bytes, "libpng %s", png_get_libpng_ver(nullptr));
}

}  // namespace

const Codec kPng = {V4I_IMAGES_PNG, name, read_size, decode};

}  // namespace v4i::media::codecs
