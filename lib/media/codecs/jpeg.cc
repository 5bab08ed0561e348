// JPEG by libjpeg-turbo: integer DCT (islow), fancy upsampling.
//
// As Pillow: gray, RGB, YCbCr, and CMYK and YCCK, inverted as Adobe writes them; no orientation of
// EXIF.  Stricter: where libjpeg goes on behind data that are damaged or missing, with gray or
// invented blocks, it is an error.
// clang-format off
#include <cstdio>  // what jpeglib.h wants before it
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "lib/media/codecs/codec.h"

namespace v4i::media::codecs {
namespace {

constexpr int kMostScans = 100;  // encoders make 10 or so; each is a walk over the whole image

Call& call_of(j_common_ptr c) { return *static_cast<Call*>(c->client_data); }

[[noreturn]] void fail_with(j_common_ptr c, int result) {
  char text[JMSG_LENGTH_MAX];
  c->err->format_message(c, text);
  fail(call_of(c), result, "%s", text);
}

void on_error(j_common_ptr c) {
  switch (c->err->msg_code) {
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
      fail_with(c, V4I_IMAGES_UNSUPPORTED);
    default:
      fail_with(c, V4I_IMAGES_DAMAGED);
  }
}

// Warnings have negative levels.  Behind these all blocks are there.
void on_message(j_common_ptr c, int level) {
  if (level >= 0) return;
  switch (c->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
      return;
    case JWRN_HIT_MARKER:
    case JWRN_JPEG_EOF:
      fail(call_of(c), V4I_IMAGES_DAMAGED, "the file ends early, or a part of it is missing");
    default:
      fail_with(c, V4I_IMAGES_DAMAGED);
  }
}

void no_output(j_common_ptr) {}

void on_progress(j_common_ptr c) {
  const int scan = reinterpret_cast<j_decompress_ptr>(c)->input_scan_number;
  if (scan > kMostScans)
    fail(call_of(c), V4I_IMAGES_UNSUPPORTED, "it has more than %d scans", kMostScans);
}

// A decoder that has read the header.  Nothing in it needs a destructor: its memory is the Call's.
struct Decoder {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
};

void open(Call& call, Decoder* d) {
  d->jpeg = {};
  d->jpeg.err = jpeg_std_error(&d->errors);
  d->jpeg.client_data = &call;
  d->errors.error_exit = on_error;
  d->errors.emit_message = on_message;
  d->errors.output_message = no_output;
  jpeg_create_decompress(&d->jpeg);
  d->progress = {};
  d->progress.progress_monitor = on_progress;
  d->jpeg.progress = &d->progress;
  jpeg_mem_src(&d->jpeg, call.file->data, call.file->bytes);
  jpeg_read_header(&d->jpeg, TRUE);
  // Its decoder goes on without a word where data are missing, and takes its time for it.
  if (d->jpeg.arith_code)
    fail(call, V4I_IMAGES_UNSUPPORTED, "it is arithmetic-coded, which is not decoded");
}

void read_size(Call& call, v4i_images_info* size) {
  Decoder d;
  open(call, &d);
  size->width = d.jpeg.image_width;
  size->height = d.jpeg.image_height;
}

// A gray row that fills the beginning of its place, from its end on.
void spread_gray(std::uint8_t* row, std::size_t width) {
  for (std::size_t x = width; x-- > 0;) row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = row[x];
}

// Four bytes a pixel: 255 - C, 255 - M, 255 - Y, 255 - K.
void mix_cmyk(const std::uint8_t* in, std::uint8_t* out, std::size_t width) {
  for (std::size_t x = 0; x < width; ++x) {
    const int light = in[4 * x + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const int product = (255 - in[4 * x + c]) * light + 128;
      const int v = light - ((product + (product >> 8)) >> 8);
      out[3 * x + c] = static_cast<std::uint8_t>(v < 0 ? 0 : v);
    }
  }
}

void set_output(Call& call, jpeg_decompress_struct* jpeg) {
  jpeg->dct_method = JDCT_ISLOW;
  jpeg->do_fancy_upsampling = TRUE;
  switch (jpeg->num_components) {
    case 1:
      jpeg->out_color_space = JCS_GRAYSCALE;
      return;
    case 3:
      jpeg->out_color_space = JCS_RGB;
      return;
    case 4:
      jpeg->out_color_space = JCS_CMYK;
      return;
    default:
      fail(call, V4I_IMAGES_UNSUPPORTED, "it has %d components, expected 1, 3 or 4",
           jpeg->num_components);
  }
}

void decode(Call& call, const v4i_images_info& size, std::uint8_t* rgb) {
  Decoder d;
  open(call, &d);
  jpeg_decompress_struct* const jpeg = &d.jpeg;
  set_output(call, jpeg);
  jpeg_start_decompress(jpeg);
  const std::size_t width = jpeg->output_width, height = jpeg->output_height;
  if (width != size.width || height != size.height) fail_size(call, width, height);
  const bool cmyk = jpeg->out_color_space == JCS_CMYK;
  JSAMPROW row = nullptr;
  if (cmyk) {
    row = static_cast<JSAMPROW>(
        jpeg->mem->alloc_large(reinterpret_cast<j_common_ptr>(jpeg), JPOOL_IMAGE, 4 * width));
  }
  for (std::size_t y = 0; y < height; ++y) {
    std::uint8_t* const out = rgb + 3 * width * y;
    if (!cmyk) row = out;
    jpeg_read_scanlines(jpeg, &row, 1);
    if (cmyk) mix_cmyk(row, out, width);
    if (jpeg->out_color_space == JCS_GRAYSCALE) spread_gray(out, width);
  }
  jpeg_finish_decompress(jpeg);
}

#define V4I_TEXT2(x) #x
#define V4I_TEXT(x) V4I_TEXT2(x)

void name(char* text, std::size_t bytes) {
#if defined(LIBJPEG_TURBO_VERSION)
  std::snprintf(text, bytes, "libjpeg-turbo " V4I_TEXT(LIBJPEG_TURBO_VERSION));
#else
  std::snprintf(text, bytes, "libjpeg " V4I_TEXT(JPEG_LIB_VERSION));
#endif
}

}  // namespace

const Codec kJpeg = {V4I_IMAGES_JPEG, name, read_size, decode};

}  // namespace v4i::media::codecs
