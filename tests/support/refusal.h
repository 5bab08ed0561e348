// What a call refuses with: the sentence of its Error, or "accepted".
#pragma once

#include <string>
#include <utility>

#include "lib/base/error.h"

namespace v4i::test {

template <class F>
std::string refusal(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const Error& e) {
    return e.text();
  }
  return "accepted";
}

template <class F>
Code refusal_code(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const Error& e) {
    return e.code();
  }
  return Code::kOk;
}

}  // namespace v4i::test
