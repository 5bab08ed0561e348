// Section 5 of v4infer.h, first half: tokens.
#include <string>
#include <vector>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/tokenizer/tokenizer.h"

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_tokenize(const v4i_model* m, const char* text, size_t len, uint32_t flags,
                        v4i_token* out, size_t cap, size_t* count, v4i_error** err) {
  return guard(err, [&] {
    const tokenizer::Tokenizer& t = tokenizer_of(m);
    check_text_flags(flags);
    std::vector<std::int32_t> ids;
    if ((flags & V4I_TOK_ADD_BOS) != 0 && t.bos() >= 0) ids.push_back(t.bos());
    t.encode(text_of(text, len, "text"), (flags & V4I_TOK_PARSE_SPECIAL) != 0, ids);
    write_array(std::span<const v4i_token>(ids), out, cap, count);
  });
}

v4i_status v4i_detokenize(const v4i_model* m, const v4i_token* t, size_t n, char* out, size_t cap,
                          size_t* count, v4i_error** err) {
  return guard(err, [&] {
    const std::string text = tokenizer_of(m).decode(tokens_of(t, n));
    write_array(std::span<const char>(text), out, cap, count);
  });
}

v4i_status v4i_token_bytes(const v4i_model* m, v4i_token t, const char** out, size_t* len,
                           v4i_error** err) {
  return guard(err, [&] {
    const tokenizer::Tokenizer& tok = tokenizer_of(m);
    const char*& to = not_null(out, "out");
    size_t& to_len = not_null(len, "len");
    if (t < 0 || t >= tok.size()) fail(Code::kInvalid, "token {} is not in [0, {})", t, tok.size());
    const std::string_view bytes = tok.token_bytes(t);
    to = bytes.data();
    to_len = bytes.size();
  });
}

v4i_token v4i_token_special(const v4i_model* m, int32_t which) {
  v4i_token out = -1;
  quiet([&] {
    if (which == V4I_SPECIAL_IMAGE) {
      const model::Model& model = model_of(m).context->model();
      if (model.weights().vision.present()) out = model.config().vision.image_token;
      return;
    }
    const tokenizer::Tokenizer& t = tokenizer_of(m);
    switch (which) {
      case V4I_SPECIAL_BOS:
        out = t.bos();
        break;
      case V4I_SPECIAL_EOS:
        out = t.eos();
        break;
      case V4I_SPECIAL_USER:
        out = t.user();
        break;
      case V4I_SPECIAL_ASSISTANT:
        out = t.assistant();
        break;
      case V4I_SPECIAL_THINK:
        out = t.think();
        break;
      case V4I_SPECIAL_END_THINK:
        out = t.end_think();
        break;
      default:
        break;
    }
  });
  return out;
}

}  // extern "C"
