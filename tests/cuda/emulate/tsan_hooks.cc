// What code compiled with -fsanitize=thread calls, in place of that sanitizer's library.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "tests/cuda/emulate/races.h"

using v4i::emulate::Access;
using v4i::emulate::note_access;

#define V4I_HOOK(name, bytes, access)                                   \
  void __tsan_##name(void* p) {                                         \
    note_access(p, bytes, Access::access, __builtin_return_address(0)); \
  }
#define V4I_HOOKS(bytes)                          \
  V4I_HOOK(read##bytes, bytes, kRead)             \
  V4I_HOOK(write##bytes, bytes, kWrite)           \
  V4I_HOOK(unaligned_read##bytes, bytes, kRead)   \
  V4I_HOOK(unaligned_write##bytes, bytes, kWrite) \
  V4I_HOOK(volatile_read##bytes, bytes, kRead)    \
  V4I_HOOK(volatile_write##bytes, bytes, kWrite)

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
V4I_HOOKS(1)
V4I_HOOKS(2)
V4I_HOOKS(4)
V4I_HOOKS(8)
V4I_HOOKS(16)
void __tsan_read_range(void* p, unsigned long bytes) {
  note_access(p, bytes, Access::kRead, __builtin_return_address(0));
}
void __tsan_write_range(void* p, unsigned long bytes) {
  note_access(p, bytes, Access::kWrite, __builtin_return_address(0));
}
}

void v4i::emulate::add_source_line(Message& m, const void* place) {
  Dl_info program;
  if (place == nullptr || dladdr(place, &program) == 0) return;
  const auto at = static_cast<const char*>(place) - static_cast<const char*>(program.dli_fbase);
  const Message command("addr2line -s -e '%s' %#lx 2>/dev/null", program.dli_fname,
                        static_cast<unsigned long>(at - 1));
  std::FILE* out = popen(command.c_str(), "r");
  if (out == nullptr) return;
  char line[200] = "";
  const bool found =
      std::fgets(line, sizeof line, out) != nullptr && line[0] != '?' && line[0] != ':';
  pclose(out);
  line[std::strcspn(line, " \n")] = 0;
  if (found) m.add(" at %s", line);
}
