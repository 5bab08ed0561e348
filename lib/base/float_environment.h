// The floating-point environment of a thread: rounding, subnormals, masks and flags of exceptions.
//
// The bits of every result are defined under the default one (round to nearest, subnormals kept,
// exceptions masked), so the library sets it for its work and gives a host its own back.
//
//   DefaultFloats  around a call of the host: the default; the caller's returns with the end
//   HostFloats     around a function of the host, inside of that: the caller's; what the function
//                  makes of it stays the caller's
#pragma once

#include <cstdint>

namespace v4i {

// What the processor holds.  x86: MXCSR and, where it is not the default, the x87's; ARM: FPCR and
// FPSR.
struct FloatState {
#if defined(__x86_64__)
  std::uint32_t mxcsr;
  std::uint16_t x87_control;
  alignas(4) unsigned char x87[28];  // all of it; only where x87_control is not the default
#elif defined(__aarch64__)
  std::uint64_t fpcr, fpsr;
#endif
};

FloatState get_floats() noexcept;
void set_floats(const FloatState& state) noexcept;
void set_default_floats() noexcept;  // of a thread that nobody else uses

class DefaultFloats {
 public:
  DefaultFloats() noexcept;
  ~DefaultFloats();
  DefaultFloats(const DefaultFloats&) = delete;
  DefaultFloats& operator=(const DefaultFloats&) = delete;

 private:
  friend class HostFloats;
  FloatState callers_;
  DefaultFloats* outer_;  // of this thread: a call inside a callback inside a call
};

class HostFloats {
 public:
  HostFloats() noexcept;
  ~HostFloats();
  HostFloats(const HostFloats&) = delete;
  HostFloats& operator=(const HostFloats&) = delete;

 private:
  DefaultFloats* call_;  // null: nothing was set on this thread
};

}  // namespace v4i
