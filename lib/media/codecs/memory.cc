// What the codecs call of the C library: malloc and free become the host's, and nothing prints,
// ends the process or reads the environment.
//
// The linker gives every such call of the static codec libraries to __wrap_NAME (images.cmake).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "lib/media/codecs/call.h"

namespace v4i::media::codecs {

struct alignas(16) Block {
  std::size_t bytes;  // with this header
  Call* call;
  Block* before;
  Block* after;
};

namespace {

thread_local Call* current = nullptr;

// Where there is no memory, the call ends here: what the codecs themselves do then is hardly ever
// run, and libwebp 1.2.4 follows a pointer that it never set.
void* allocate(std::size_t n) {
  Call* const call = current;
  if (call == nullptr) return nullptr;  // outside of calls no code of a codec runs
  const std::size_t bytes = sizeof(Block) + n;
  void* const p = bytes > n ? call->host->allocate(call->host->user, bytes) : nullptr;
  if (p == nullptr) fail(*call, V4I_IMAGES_NO_MEMORY, "there are no %zu bytes of memory", n);
  Block* const b = static_cast<Block*>(p);
  *b = {bytes, call, nullptr, call->blocks};
  if (b->after != nullptr) b->after->before = b;
  call->blocks = b;
  return b + 1;
}

void release(Block* b) {
  Call* const call = b->call;
  if (b->before != nullptr) b->before->after = b->after;
  if (b->after != nullptr) b->after->before = b->before;
  if (call->blocks == b) call->blocks = b->after;
  call->host->release(call->host->user, b, b->bytes);
}

}  // namespace

Call* current_call() { return current; }

void begin(Call& call) {
  call.outer = current;
  current = &call;
}

void end(Call& call) {
  while (call.blocks != nullptr) release(call.blocks);
  current = call.outer;
}

}  // namespace v4i::media::codecs

using namespace v4i::media::codecs;

#define V4I_WRAPS __attribute__((visibility("hidden"), used))

extern "C" {

V4I_WRAPS std::FILE* __wrap_stderr = nullptr;
V4I_WRAPS std::FILE* __wrap_stdout = nullptr;

V4I_WRAPS void* __wrap_malloc(std::size_t n) { return allocate(n); }

V4I_WRAPS void* __wrap_calloc(std::size_t count, std::size_t size) {
  void* const p = allocate(size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size);
  return p == nullptr ? nullptr : std::memset(p, 0, count * size);
}

V4I_WRAPS void __wrap_free(void* p) {
  if (p != nullptr) release(static_cast<Block*>(p) - 1);
}

V4I_WRAPS char* __wrap_getenv(const char*) { return nullptr; }

V4I_WRAPS int __wrap_fprintf(std::FILE*, const char*, ...) { return 0; }
V4I_WRAPS int __wrap___fprintf_chk(std::FILE*, int, const char*, ...) { return 0; }
V4I_WRAPS int __wrap_fputc(int c, std::FILE*) { return c; }
V4I_WRAPS int __wrap_fflush(std::FILE*) { return 0; }

V4I_WRAPS void __wrap_exit(int) {
  if (Call* const call = current_call()) fail(*call, V4I_IMAGES_DAMAGED, "the codec gave up");
  for (;;) {  // not reached, as allocate() says
  }
}
V4I_WRAPS void __wrap_abort() { __wrap_exit(0); }

}  // extern "C"
