// An engine, a tiny model with a tokenizer, and short ways to ask for failures.
#pragma once

#include <string>
#include <v4infer/session.hpp>

#include "tests/support/catch.h"

namespace v4i::test {

// A folder with the tiny model of seed 1 and the small tokenizer beside it.
const std::string& text_model_path();
// The same weights without a tokenizer.json.
std::string plain_model_path();

// Opened once per test program; every test makes its own sessions.
const v4infer::Engine& engine();
const v4infer::Model& model();
const v4infer::Model& plain_model();

v4infer::Session new_session();
v4infer::Session greedy_session();

// Token ids without a pattern, the same in every run.
v4infer::Tokens some_tokens(std::size_t n);

// Calls `f(&err)`; requires status `want`, a message that contains `word`, and frees it.
template <class F>
void refused(v4i_status want, const char* word, F&& f) {
  v4i_error* err = nullptr;
  const v4i_status got = f(&err);
  const std::string message = v4i_error_message(err);
  CAPTURE(message, v4i_status_name(got));
  REQUIRE(got == want);
  REQUIRE(v4i_error_code(err) == want);
  REQUIRE(message.find(word) != std::string::npos);
  v4i_error_free(err);
  REQUIRE(f(nullptr) == want);  // err may be NULL
}

template <class T>
T ok(v4infer::Result<T> r) {
  INFO(r.error().message());
  REQUIRE(static_cast<bool>(r));
  return *std::move(r);
}
inline void ok(const v4infer::Error& e) {
  INFO(e.message());
  REQUIRE(!e);
}

}  // namespace v4i::test
