// boundary.h: the only place where C++ meets C.  Every extern "C" body of lib/capi
// is one guard(); structs come in through read_struct() and go out through
// write_struct().  Rules: docs/abi.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "include/v4infer/v4infer.h"
#include "lib/base/error.h"
#include "lib/base/float_environment.h"

struct v4i_error {
  v4i_status code;
  std::string text;
};

namespace v4i::capi {

// Preallocated: reporting "out of memory" must not need memory.
v4i_error* no_memory_error() noexcept;

inline v4i_status report(v4i_error** err, v4i_status code, const char* text) noexcept {
  if (err != nullptr) {
    try {
      *err = new v4i_error{code, text};
    } catch (...) {
      *err = no_memory_error();
    }
  }
  return code;
}

// Runs `body` and turns whatever leaves it into a status and a text.  A host's
// callback may throw as well: its text arrives as V4I_E_INTERNAL.  The body computes in the
// default floating-point environment, the caller keeps its own.
template <class Body>
v4i_status guard(v4i_error** err, Body&& body) noexcept {
  const DefaultFloats floats;
  try {
    body();
    return V4I_OK;
  } catch (const Error& e) {
    return report(err, static_cast<v4i_status>(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    if (err != nullptr) *err = no_memory_error();
    return V4I_E_NO_MEMORY;
  } catch (const std::exception& e) {
    return report(err, V4I_E_INTERNAL, e.what());
  } catch (...) {
    return report(err, V4I_E_INTERNAL, "an exception that is not a std::exception");
  }
}

// For functions that cannot fail: releases and plain getters.
template <class Body>
void quiet(Body&& body) noexcept {
  try {
    body();
  } catch (...) {  // nothing to tell, nobody to tell it to
  }
}

// Size of each struct in release 1.0.  Numbers, not sizeof: with sizeof, adding a
// field would refuse every program built before it.  Written by `make abi-record`
// until 1.0 is tagged, never edited afterwards.
template <class T>
inline constexpr std::size_t kOldest = 0;
#include "lib/capi/sizes_v1.inc"

constexpr std::size_t kLargest = 4096;  // anything above is an unset struct_size

template <class T>
std::size_t checked_size(const T* s, const char* name) {
  static_assert(kOldest<T> != 0 && kOldest<T> <= sizeof(T));
  if (s == nullptr) fail(Code::kInvalid, "{} is NULL", name);
  if (s->struct_size < kOldest<T> || s->struct_size > kLargest)
    fail(Code::kAbi, "{}: struct_size is {}, not set (use V4I_INIT)", name, s->struct_size);
  return s->struct_size;
}

// Accepts structs from older and newer headers.  Older: the missing tail reads as
// zero, which means "default".  Newer: fine while the tail we do not know is zero; a
// set field we cannot honour is an error, not a silent no.
template <class T>
T read_struct(const T* in, const char* name) {
  const std::size_t theirs = checked_size(in, name);
  T out;
  std::memset(&out, 0, sizeof out);
  std::memcpy(&out, in, std::min(theirs, sizeof out));
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  for (std::size_t i = sizeof out; i < theirs; ++i)
    if (bytes[i] != 0) fail(Code::kUnsupported, "{}: option from a newer header", name);
  return out;
}

// The same where NULL means "all defaults".
template <class T>
T read_optional(const T* in, const char* name) {
  if (in != nullptr) return read_struct(in, name);
  T out;
  std::memset(&out, 0, sizeof out);
  return out;
}

// Arrays: the caller's compiler chose the stride, and told us in element 0.
template <class T>
T* element(T* first, std::size_t stride, std::size_t index) {
  auto* bytes = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(first));
  return reinterpret_cast<T*>(bytes + index * stride);
}

template <class T, class Visit>
void each_struct(const T* first, std::size_t count, const char* name, Visit&& visit) {
  if (count == 0) return;
  const std::size_t stride = checked_size(first, name);
  for (std::size_t i = 0; i < count; ++i) visit(read_struct(element(first, stride, i), name));
}

// Fills what the caller has room for; the rest of a larger struct becomes zero.
template <class T>
void fill_struct(const T& value, T* out, std::size_t theirs) {
  std::memset(out, 0, theirs);
  std::memcpy(out, &value, std::min(theirs, sizeof value));
  out->struct_size = static_cast<std::uint32_t>(theirs);
}

template <class T>
void write_struct(const T& value, T* out, const char* name) {
  fill_struct(value, out, checked_size(out, name));
}

// A v4i struct with every byte zero, to be filled and written.
template <class T>
T zeroed() {
  T out;
  std::memset(&out, 0, sizeof out);
  return out;
}

}  // namespace v4i::capi
