// Section 7 of v4infer.h: appending to a session.
#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"

using namespace v4i;
using namespace v4i::capi;

namespace {

// Released models of this family take text only; capabilities says so beforehand.
[[noreturn]] void no_input(const char* what) {
  fail(Code::kUnsupported, "this model takes no {} (see v4i_model_info.capabilities)", what);
}

}  // namespace

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
    read_struct(i, "v4i_image");
    no_input("images");
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

}  // extern "C"
