// Call: one call of the host, from which a codec may be left at any place.
//
// The codecs are C libraries that report an error by a function that must not return.  Here it
// jumps back to run(), over frames of C and of our own that have nothing to destroy.  What the
// codec had taken with malloc came from the host through the Call (memory.cc), which gives it back
// at the end; so nothing has to be destroyed by hand.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "lib/media/codecs/plugin.h"

namespace v4i::media::codecs {

struct Block;  // of memory: memory.cc

struct Call {
  const v4i_images_file* file = nullptr;
  const v4i_images_host* host = nullptr;
  char* why = nullptr;
  std::size_t why_bytes = 0;
  int result = V4I_IMAGES_OK;
  Block* blocks = nullptr;  // that the codec holds
  Call* outer = nullptr;    // of the same thread
  std::jmp_buf jump;
};

// Of this thread; null outside of calls.
Call* current_call();

// Ends the call: says why, in one line, and jumps.
[[noreturn]] void fail(Call& call, int result, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

void begin(Call& call);
void end(Call& call);

// Runs `job` and returns its result.
template <class Job>
int run(Call& call, Job job) {
  static_assert(std::is_trivially_destructible_v<Job>, "it is left by a jump");
  begin(call);
  if (setjmp(call.jump) == 0) job(call);
  end(call);
  return call.result;
}

}  // namespace v4i::media::codecs
