// Control words of the processor; see float_environment.h.
#include "lib/base/float_environment.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace v4i {

namespace {

// The innermost DefaultFloats of this thread.
thread_local DefaultFloats* innermost = nullptr;

#if defined(__x86_64__)
constexpr std::uint32_t kMxcsr = 0x1f80;       // nearest, no FTZ, no DAZ, all masked, no flags
constexpr std::uint16_t kX87Control = 0x037f;  // nearest, 64-bit mantissa, all masked

std::uint16_t x87_control() noexcept {
  std::uint16_t word;
  asm volatile("fnstcw %0" : "=m"(word));
  return word;
}
#endif

}  // namespace

#if defined(__x86_64__)

FloatState get_floats() noexcept {
  FloatState s;
  s.mxcsr = _mm_getcsr();
  s.x87_control = x87_control();
  if (s.x87_control != kX87Control) asm volatile("fnstenv %0\n\tfldenv %0" : "=m"(s.x87));
  return s;
}

void set_floats(const FloatState& s) noexcept {
  _mm_setcsr(s.mxcsr);
  if (s.x87_control != kX87Control)
    asm volatile("fldenv %0" : : "m"(s.x87));
  else if (x87_control() != kX87Control)
    asm volatile("fldcw %0" : : "m"(kX87Control));
}

void set_default_floats() noexcept {
  _mm_setcsr(kMxcsr);
  if (x87_control() != kX87Control) asm volatile("fnclex\n\tfldcw %0" : : "m"(kX87Control));
}

#elif defined(__aarch64__)

FloatState get_floats() noexcept {
  FloatState s;
  asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(s.fpcr), "=r"(s.fpsr));
  return s;
}

void set_floats(const FloatState& s) noexcept {
  asm volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(s.fpcr), "r"(s.fpsr) : "memory");
}

void set_default_floats() noexcept { set_floats({}); }

#else

FloatState get_floats() noexcept { return {}; }
void set_floats(const FloatState&) noexcept {}
void set_default_floats() noexcept {}

#endif

DefaultFloats::DefaultFloats() noexcept : callers_(get_floats()), outer_(innermost) {
  innermost = this;
  set_default_floats();
}

DefaultFloats::~DefaultFloats() {
  innermost = outer_;
  set_floats(callers_);
}

HostFloats::HostFloats() noexcept : call_(innermost) {
  if (call_ != nullptr) set_floats(call_->callers_);
}

HostFloats::~HostFloats() {
  if (call_ == nullptr) return;
  call_->callers_ = get_floats();
  set_default_floats();
}

}  // namespace v4i
