// Section 7 of v4infer.h: appending to a session.
#include "lib/capi/prompt.h"

#include <cstring>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"

using namespace v4i;
using namespace v4i::capi;

namespace {

// Most models of this family take text only; capabilities says so beforehand.
[[noreturn]] void no_input(const char* what) {
  fail(Code::kUnsupported, "this model takes no {} (see v4i_model_info.capabilities)", what);
}

media::Pixels pixels_of(const v4i_image& i) {
  media::Pixels p;
  p.channels = i.format == V4I_PIXELS_RGBA8 ? 4 : 3;
  p.data = static_cast<const std::uint8_t*>(i.data);
  p.width = i.width;
  p.height = i.height;
  const std::uint64_t row = std::uint64_t{i.width} * static_cast<std::uint64_t>(p.channels);
  const std::uint64_t stride = i.stride_bytes == 0 ? row : i.stride_bytes;
  if (i.width == 0 || i.height == 0 || stride < row || stride > (std::uint64_t{1} << 40) ||
      i.data_bytes < stride * (i.height - 1) + row)
    fail(Code::kInvalid,
         "v4i_image: {} x {} pixels with rows of {} bytes and {} bytes of data do not agree",
         i.width, i.height, stride, i.data_bytes);
  p.stride = static_cast<std::int64_t>(stride);
  return p;
}

std::shared_ptr<session::Image> make_from_file(session::Session& s, const v4i_image& i) {
  if (i.stride_bytes != 0)
    fail(Code::kInvalid, "v4i_image.stride_bytes is {}, expected 0 for V4I_PIXELS_ENCODED",
         i.stride_bytes);
  return s.make_image_from_file({static_cast<const std::uint8_t*>(i.data), i.data_bytes}, i.width,
                                i.height, i.max_tokens);
}

std::shared_ptr<session::Image> make_from_patches(session::Session& s, const v4i_image& i) {
  constexpr std::uint32_t kMost = 1u << 20;  // no model takes a grid of that many
  const std::int64_t patch = s.context().model().config().vision.patch;
  const std::uint64_t each = 3 * static_cast<std::uint64_t>(patch * patch) * sizeof(float);
  if (i.stride_bytes != 0)
    fail(Code::kInvalid, "v4i_image.stride_bytes is {}, expected 0 for V4I_PIXELS_PATCHES",
         i.stride_bytes);
  if (i.width == 0 || i.height == 0 || i.width > kMost || i.height > kMost ||
      i.data_bytes != std::uint64_t{i.width} * i.height * each)
    fail(Code::kInvalid,
         "v4i_image: {} x {} patches and {} bytes of data do not agree, expected {} for each patch",
         i.width, i.height, i.data_bytes, each);
  // Copied since the host's may lie at any address.
  Buffer<float> patches(s.context().engine().budget(), i.data_bytes / sizeof(float), Use::kScratch,
                        "the patches of an image");
  std::memcpy(patches.data(), i.data, i.data_bytes);
  return s.make_patches(i.height, i.width, {patches.data(), patches.size()}, i.max_tokens);
}

}  // namespace

namespace v4i::capi {

std::shared_ptr<session::Image> make_image(session::Session& s, const v4i_image& i) {
  if (!s.context().model().weights().vision.present()) no_input("images");
  check_range(i.format, V4I_PIXELS_RGB8, V4I_PIXELS_PATCHES, "v4i_image.format");
  check_zero(i.reserved0, "v4i_image.reserved0");
  if (i.data == nullptr) fail(Code::kInvalid, "v4i_image.data is NULL");
  if (i.format == V4I_PIXELS_ENCODED) return make_from_file(s, i);
  if (i.format != V4I_PIXELS_PATCHES) return s.make_image(pixels_of(i), i.max_tokens);
  return make_from_patches(s, i);
}

session::Prompt media_prompt(session::Session& s, std::span<const v4i_token> tokens,
                             const v4i_image* images, std::size_t count) {
  s.check_prompt(tokens, count);  // before an image is decoded
  std::vector<std::shared_ptr<session::Image>> made;
  each_struct(images, count, "v4i_image", [&](const v4i_image& i) {
    try {
      made.push_back(make_image(s, i));
    } catch (const Error& e) {
      fail(e.code(), "image {} of {}: {}", made.size() + 1, count, e.text());
    }
  });
  return s.prompt(tokens, made);
}

}  // namespace v4i::capi

extern "C" {

v4i_status v4i_session_append_text(v4i_session* s, const char* text, size_t len, uint32_t flags,
                                   v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    check_text_flags(flags);
    call->append_text(text_of(text, len, "text"), (flags & V4I_TOK_ADD_BOS) != 0,
                      (flags & V4I_TOK_PARSE_SPECIAL) != 0);
  });
}

v4i_status v4i_session_append_tokens(v4i_session* s, const v4i_token* t, size_t n,
                                     v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    call->append(tokens_of(t, n));
  });
}

v4i_status v4i_session_append_image(v4i_session* s, const v4i_image* i, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const std::shared_ptr<session::Image> image =
        make_image(call.session(), read_struct(i, "v4i_image"));
    const v4i_token id = call.session().context().model().config().vision.image_token;
    call->append_media(call->prompt({&id, 1}, {&image, 1}));
  });
}

v4i_status v4i_session_append_audio(v4i_session* s, const v4i_audio* a, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    read_struct(a, "v4i_audio");
    no_input("audio");
  });
}

v4i_status v4i_session_append_video(v4i_session* s, const v4i_video* v, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    read_struct(v, "v4i_video");
    no_input("video");
  });
}

v4i_status v4i_session_sync(v4i_session* s, const v4i_token* t, size_t n, size_t* reused,
                            v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const std::size_t kept = call->sync(tokens_of(t, n));
    if (reused != nullptr) *reused = kept;
  });
}

v4i_status v4i_session_append_media(v4i_session* s, const v4i_token* t, size_t n,
                                    const v4i_image* images, size_t image_count, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    call->append_media(media_prompt(call.session(), tokens_of(t, n), images, image_count));
  });
}

v4i_status v4i_session_sync_media(v4i_session* s, const v4i_token* t, size_t n,
                                  const v4i_image* images, size_t image_count, size_t* reused,
                                  v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const std::size_t kept =
        call->sync_media(media_prompt(call.session(), tokens_of(t, n), images, image_count));
    if (reused != nullptr) *reused = kept;
  });
}

}  // extern "C"
