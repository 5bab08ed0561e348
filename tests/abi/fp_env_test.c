/* Loading the library leaves floating point as the host had it: denormals stay denormals
 * and the control word (rounding, exceptions, flush-to-zero) keeps its bits.
 *   usage: fp_env_test LIBRARY.so            exit 0 when nothing changed */
#include <dlfcn.h>
#include <fenv.h>
#include <float.h>
#include <stdio.h>
#include <string.h>

/* FLT_MIN / 2 is a denormal; under flush-to-zero the product is 0. */
static float half_of_smallest(void) {
  volatile float x = FLT_MIN;
  return x * 0.5f;
}

int main(int argc, char** argv) {
  fenv_t before, after;
  float x;
  void* library;
  if (argc != 2) return 2;
  if (half_of_smallest() == 0.0f) {
    fprintf(stderr, "this machine flushes denormals already; nothing can be tested\n");
    return 2;
  }
  fegetenv(&before);
  library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  x = half_of_smallest();
  fegetenv(&after);
  if (x == 0.0f) {
    fprintf(stderr, "%s: denormals are flushed to zero after loading\n", argv[1]);
    return 1;
  }
  if (memcmp(&before, &after, sizeof before) != 0) {
    fprintf(stderr, "%s: the floating-point environment changed while loading\n", argv[1]);
    return 1;
  }
  return 0;
}
