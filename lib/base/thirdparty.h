// What the assertions of fmt, nlohmann-json and Eigen do inside this library: they
// become our internal check (an Error of kind kInternal), where the defaults print
// and abort, which would end the host program.
//
// Included before everything else in every file of the library (CMake adds
// `-include lib/base/thirdparty.h`), because each package looks at its macro when
// its first header is read.  So it includes nothing and declares only what it needs.
#pragma once

#ifdef __cplusplus

namespace v4i {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace v4i

#define FMT_ASSERT(condition, message) \
  ((condition) ? static_cast<void>(0) : ::v4i::check_failed((message), __FILE__, __LINE__))

#define JSON_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::v4i::check_failed(#condition, __FILE__, __LINE__))

// Eigen checks every coefficient access; release builds leave those out, as Eigen
// itself does.
#ifdef NDEBUG
#define eigen_assert(condition) static_cast<void>(0)
#else
#define eigen_assert(condition) \
  ((condition) ? static_cast<void>(0) : ::v4i::check_failed(#condition, __FILE__, __LINE__))
#endif

#endif  // __cplusplus
