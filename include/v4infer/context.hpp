// context.hpp: Error, Result, Engine and Model of libv4infer, for C++17.
//
// Header-only RAII over v4infer.h; no C++ symbol crosses the library's boundary.
// Needs neither exceptions nor RTTI: what can fail returns a Result or an Error.
//
//   auto engine = v4infer::Engine::create();
//   auto model = v4infer::Model::open(*engine, "path/to/model");
//   if (!model) return complain(model.error().message());
//
// Objects are move-only owners of one reference.  A default or failed object is
// empty, and every call on it returns an error.  Threads: as in v4infer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "v4infer.h"

namespace v4infer {

// A struct of v4infer.h, ready to be filled: zero and with its size set.
template <class T>
T init() {
  T out;
  V4I_INIT(&out);
  return out;
}

// An error, or none: `if (Error e = session.prefill()) log(e.message());`
class Error {
 public:
  Error() = default;
  explicit Error(v4i_status code, v4i_error* text = nullptr) : code_(code), text_(text) {}
  Error(Error&& o) noexcept
      : code_(std::exchange(o.code_, V4I_OK)), text_(std::exchange(o.text_, nullptr)) {}
  Error& operator=(Error&& o) noexcept {
    std::swap(code_, o.code_);
    std::swap(text_, o.text_);
    return *this;
  }
  ~Error() { v4i_error_free(text_); }

  explicit operator bool() const { return code_ != V4I_OK; }
  v4i_status code() const { return code_; }
  const char* message() const {
    return text_ != nullptr ? v4i_error_message(text_) : v4i_status_name(code_);
  }

 private:
  v4i_status code_ = V4I_OK;
  v4i_error* text_ = nullptr;
};

// A value, or why there is none.  The value of a failed Result is empty, not undefined.
template <class T>
class Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_; }
  const Error& error() const { return error_; }
  T& operator*() & { return value_; }
  T&& operator*() && { return std::move(value_); }
  T* operator->() { return &value_; }

 private:
  T value_{};
  Error error_;
};

namespace detail {

// Owns one reference to a handle.
template <class T, void (*Release)(T*)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(T* p) : p_(p) {}
  Handle(Handle&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Handle& operator=(Handle&& o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Handle() { Release(p_); }
  T* get() const { return p_; }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  T* p_ = nullptr;
};

// Calls `f(&out, &err)` and wraps what it made: a handle H of T*.
template <class Object, class T, class F>
Result<Object> make(F&& f) {
  T* out = nullptr;
  v4i_error* err = nullptr;
  const v4i_status s = f(&out, &err);
  if (s != V4I_OK) return Error(s, err);
  return Object(out);
}

template <class F>
Error call(F&& f) {
  v4i_error* err = nullptr;
  const v4i_status s = f(&err);
  return s == V4I_OK ? Error() : Error(s, err);
}

// The two-pass protocol of array outputs, for std::vector and std::string.
template <class Array, class F>
Result<Array> fill(F&& f) {
  Array out;
  std::size_t count = 0;
  if (Error e = call([&](v4i_error** err) { return f(nullptr, 0, &count, err); })) return e;
  out.resize(count);
  if (count == 0) return out;
  if (Error e = call([&](v4i_error** err) { return f(out.data(), count, &count, err); })) return e;
  return out;
}

// A JSON or text buffer as a string.
template <class F>
Result<std::string> text(F&& f) {
  v4i_buffer* buffer = nullptr;
  if (Error e = call([&](v4i_error** err) { return f(&buffer, err); })) return e;
  std::string out(static_cast<const char*>(v4i_buffer_data(buffer)), v4i_buffer_size(buffer));
  v4i_buffer_release(buffer);
  return out;
}

}  // namespace detail

using Token = v4i_token;
using Tokens = std::vector<Token>;

class Engine : public detail::Handle<v4i_engine, v4i_engine_release> {
 public:
  using Handle::Handle;

  static v4i_engine_options options() {
    auto o = init<v4i_engine_options>();
    o.abi_version = V4I_ABI_VERSION;
    return o;
  }
  static Result<Engine> create(const v4i_engine_options& o = options()) {
    return detail::make<Engine, v4i_engine>(
        [&](v4i_engine** out, v4i_error** err) { return v4i_engine_create(&o, out, err); });
  }
  Error set_budget(const v4i_memory_budget& b) {
    return detail::call([&](v4i_error** err) { return v4i_engine_set_budget(get(), &b, err); });
  }
  Result<v4i_memory_stats> memory() const {
    auto out = init<v4i_memory_stats>();
    Error e = detail::call([&](v4i_error** err) { return v4i_engine_memory(get(), &out, err); });
    if (e) return e;
    return out;
  }
  // Bits V4I_IMAGE_ of the image files that are decoded.
  Result<std::uint32_t> image_formats() const {
    std::uint32_t out = 0;
    Error e =
        detail::call([&](v4i_error** err) { return v4i_engine_image_formats(get(), &out, err); });
    if (e) return e;
    return out;
  }
};

class Model : public detail::Handle<v4i_model, v4i_model_release> {
 public:
  using Handle::Handle;

  static Result<Model> open(const Engine& engine, const char* path,
                            v4i_model_options o = init<v4i_model_options>()) {
    o.path = path;
    return detail::make<Model, v4i_model>([&](v4i_model** out, v4i_error** err) {
      return v4i_model_open(engine.get(), &o, out, err);
    });
  }
  // What open() and sessions would take; nothing is opened.
  static Result<v4i_model_plan> plan(const Engine& engine, const char* path,
                                     v4i_model_options o = init<v4i_model_options>()) {
    o.path = path;
    auto out = init<v4i_model_plan>();
    Error e = detail::call(
        [&](v4i_error** err) { return v4i_model_plan_open(engine.get(), &o, &out, err); });
    if (e) return e;
    return out;
  }
  static Result<v4i_model_info> probe(const Engine& engine, const char* path) {
    auto out = init<v4i_model_info>();
    Error e = detail::call(
        [&](v4i_error** err) { return v4i_model_probe(engine.get(), path, &out, err); });
    if (e) return e;
    return out;
  }
  Result<v4i_model_info> info() const {
    auto out = init<v4i_model_info>();
    Error e = detail::call([&](v4i_error** err) { return v4i_model_get_info(get(), &out, err); });
    if (e) return e;
    return out;
  }
  Result<std::string> describe(std::uint32_t flags = 0) const {
    return detail::text(
        [&](v4i_buffer** b, v4i_error** err) { return v4i_model_describe(get(), flags, b, err); });
  }

  // flags: V4I_TOK_ADD_BOS, V4I_TOK_PARSE_SPECIAL.
  Result<Tokens> tokenize(std::string_view text, std::uint32_t flags = 0) const {
    return detail::fill<Tokens>([&](Token* out, std::size_t cap, std::size_t* n, v4i_error** err) {
      return v4i_tokenize(get(), text.data(), text.size(), flags, out, cap, n, err);
    });
  }
  Result<std::string> detokenize(const Tokens& t) const {
    return detail::fill<std::string>(
        [&](char* out, std::size_t cap, std::size_t* n, v4i_error** err) {
          return v4i_detokenize(get(), t.data(), t.size(), out, cap, n, err);
        });
  }
  Token special(std::int32_t which) const { return v4i_token_special(get(), which); }

  // OpenAI-style messages -> the tokens of a prompt that is ready to be answered.
  static v4i_chat_options chat_options() {
    auto o = init<v4i_chat_options>();
    o.open_assistant = 1;
    return o;
  }
  Result<Tokens> chat(std::string_view messages_json,
                      const v4i_chat_options& o = chat_options()) const {
    return detail::fill<Tokens>([&](Token* out, std::size_t cap, std::size_t* n, v4i_error** err) {
      return v4i_chat_encode_json(get(), messages_json.data(), messages_json.size(), &o, out, cap,
                                  n, err);
    });
  }
  // Which image of the messages each V4I_SPECIAL_IMAGE of that prompt stands for.
  Result<std::vector<std::uint32_t>> image_order(std::string_view messages_json,
                                                 const v4i_chat_options& o = chat_options()) const {
    return detail::fill<std::vector<std::uint32_t>>(
        [&](std::uint32_t* out, std::size_t cap, std::size_t* n, v4i_error** err) {
          return v4i_chat_image_order(get(), messages_json.data(), messages_json.size(), &o, out,
                                      cap, n, err);
        });
  }
  // An answer's text -> {"thinking", "content", "tool_calls"}.
  Result<std::string> parse(std::string_view answer, std::int32_t thinking = 0) const {
    return detail::text([&](v4i_buffer** b, v4i_error** err) {
      return v4i_chat_parse(get(), answer.data(), answer.size(), thinking, b, err);
    });
  }
};

}  // namespace v4infer
