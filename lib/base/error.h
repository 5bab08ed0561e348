// Errors: values for machines, sentences for people.
//
// Inside the library a failure is one exception type, Error, thrown by fail().
// It never leaves the library: lib/capi turns it into a status code and a text
// (lib/capi/boundary.h).  A text names the file or tensor, what was found, what
// was wanted and, where there is one, the remedy.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <string>
#include <utility>

namespace v4i {

// Same numbers as the V4I_E_ constants of v4infer.h (asserted in lib/capi).
enum class Code : int {
  kOk = 0,
  kInvalid = -1,
  kAbi = -2,
  kNoMemory = -3,
  kIo = -4,
  kFormat = -5,
  kUnsupported = -6,
  kCancelled = -7,
  kBusy = -8,
  kState = -9,
  kContextFull = -10,
  kDevice = -11,
  kInternal = -12,
};

class Error : public std::exception {
 public:
  Error(Code code, std::string text) : code_(code), text_(std::move(text)) {}
  Code code() const noexcept { return code_; }
  const std::string& text() const noexcept { return text_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  Code code_;
  std::string text_;
};

template <class... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace v4i

// A promise of our own code.  Broken, it is a bug: kInternal, never an abort.
#define V4I_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::v4i::check_failed(#condition, __FILE__, __LINE__))
