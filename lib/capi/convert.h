// Small conversions that several sections of the interface share: text arguments,
// array outputs, run options, buffers.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lib/capi/boundary.h"
#include "lib/capi/handles.h"

namespace v4i::capi {

// pointer + length, or V4I_ZSTR; NULL is allowed for zero bytes.
inline std::string_view text_of(const char* text, std::size_t len, const char* name) {
  if (len == 0) return {};
  if (text == nullptr) fail(Code::kInvalid, "{} is NULL", name);
  return {text, len == V4I_ZSTR ? std::strlen(text) : len};
}

inline std::span<const v4i_token> tokens_of(const v4i_token* t, std::size_t n) {
  if (n > 0 && t == nullptr) fail(Code::kInvalid, "tokens is NULL");
  return {t, n};
}

// The rule of array outputs: cap 0 asks for the count; too small a cap is kInvalid
// with *count set; otherwise everything is written.
template <class T>
void write_array(std::span<const T> values, T* out, std::size_t cap, std::size_t* count) {
  not_null(count, "count") = values.size();
  if (cap == 0) return;
  if (cap < values.size()) fail(Code::kInvalid, "cap is {}, {} is needed", cap, values.size());
  if (values.empty()) return;
  std::memcpy(&not_null(out, "out"), values.data(), values.size_bytes());
}

inline void write_buffer(std::string bytes, v4i_buffer** out, const char* name) {
  v4i_buffer*& to = not_null(out, name);
  to = new v4i_buffer{std::move(bytes)};
}

inline void check_range(std::int64_t value, std::int64_t low, std::int64_t high, const char* name) {
  if (value < low || value > high)
    fail(Code::kInvalid, "{} is {}, allowed is {} to {}", name, value, low, high);
}

inline void check_zero(std::int64_t value, const char* name) {
  if (value != 0) fail(Code::kInvalid, "{} is {}, and reserved fields stay zero", name, value);
}

inline void check_text_flags(std::uint32_t flags) {
  if ((flags & ~(V4I_TOK_ADD_BOS | V4I_TOK_PARSE_SPECIAL)) != 0)
    fail(Code::kInvalid, "flags are {:#x}, known are ADD_BOS and PARSE_SPECIAL", flags);
}

// No extension block is taken here.
void refuse_extensions(const v4i_ext* next, const char* where);

// v4i_run_options -> session::RunOptions, holding the cancel token.
struct Run {
  session::RunOptions options;
  std::shared_ptr<CancelFlag> cancel;
};
Run read_run_options(const v4i_run_options* o, EngineState& engine);
// Of a call on one session: releasing it cancels the call, too.
Run read_run_options(const v4i_run_options* o, SessionCall& call);

// The host's progress function behind the engine's gate; null stays null.
session::Progress progress_of(v4i_progress_fn fn, void* user, std::int32_t phase,
                              EngineState& engine);

}  // namespace v4i::capi
