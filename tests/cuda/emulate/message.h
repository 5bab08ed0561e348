// Text of fixed size: a fibre that stops in the middle frees nothing.
#pragma once

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdio>

namespace v4i::emulate {

class Message {
 public:
  __attribute__((format(printf, 2, 3))) explicit Message(const char* format, ...) {
    va_list values;
    va_start(values, format);
    append(format, values);
    va_end(values);
  }
  __attribute__((format(printf, 2, 3))) Message& add(const char* format, ...) {
    va_list values;
    va_start(values, format);
    append(format, values);
    va_end(values);
    return *this;
  }
  const char* c_str() const { return text_; }

 private:
  void append(const char* format, va_list values) {
    const int n = std::vsnprintf(text_ + size_, sizeof text_ - size_, format, values);
    size_ = std::min(sizeof text_ - 1, size_ + static_cast<std::size_t>(n < 0 ? 0 : n));
  }

  char text_[2048] = "";
  std::size_t size_ = 0;
};

}  // namespace v4i::emulate
