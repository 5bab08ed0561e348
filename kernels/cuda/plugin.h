/* The device as a table of C functions: what libv4infer-cuda.so gives to libv4infer, and what the
 * emulator of the tests gives in its place.
 *
 * libv4infer opens the library at run time and asks v4i_cuda_plugin() for the table.  The library
 * links nothing of CUDA: it opens libcuda at run time itself.  No exception crosses.
 *
 * Every function that returns int returns V4I_CUDA_OK or one of the codes below; error() then says
 * why, in one sentence, for the calling thread.  A device that is lost answers V4I_CUDA_LOST to
 * every call from then on; close() works still.
 *
 * Any thread; calls on one stream are in order.  Memory addresses are the device's, 64-bit.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  V4I_CUDA_OK = 0,
  V4I_CUDA_ABSENT = 1,    /* no driver, no such device, or one that is too old */
  V4I_CUDA_NO_MEMORY = 2, /* of the device, or pinned memory of the host */
  V4I_CUDA_LOST = 3,      /* the device or its context is gone */
  V4I_CUDA_FAILED = 4     /* anything else: a wrong call, a kernel that is not in the library */
};

enum { V4I_CUDA_TO_DEVICE = 0, V4I_CUDA_TO_HOST = 1, V4I_CUDA_WITHIN = 2 };

typedef struct v4i_cuda_device v4i_cuda_device;
typedef struct v4i_cuda_stream v4i_cuda_stream;
typedef struct v4i_cuda_event v4i_cuda_event;
typedef struct v4i_cuda_graph v4i_cuda_graph;
typedef struct v4i_cuda_kernel v4i_cuda_kernel;

typedef struct v4i_cuda_info {
  char name[96];    /* "NVIDIA H100 80GB HBM3" */
  char target[16];  /* whose code runs on it: "sm_90", "emulated" */
  int major, minor; /* compute capability */
  int processors;   /* multiprocessors */
  uint64_t memory;  /* bytes, in all */
  uint64_t free;    /* bytes, now */
  uint64_t shared;  /* bytes of shared memory a block may have */
} v4i_cuda_info;

typedef struct v4i_cuda_api {
  uint32_t bytes;       /* sizeof(v4i_cuda_api) */
  const char* build_id; /* V4I_CUDA_BUILD_ID of the sources that the library was made from */
  const char* (*error)(void);

  int (*count)(int* devices);
  int (*open)(int device, v4i_cuda_device** out);
  void (*close)(v4i_cuda_device* d); /* waits for its work; frees what was allocated */
  int (*info)(v4i_cuda_device* d, v4i_cuda_info* out);

  int (*allocate)(v4i_cuda_device* d, size_t bytes, void** out); /* aligned to 256, not zeroed */
  void (*release)(v4i_cuda_device* d, void* p);                  /* may wait for the device */
  /* Host memory that the device reads and writes; `on_device` is its address there. */
  int (*allocate_pinned)(v4i_cuda_device* d, size_t bytes, void** host, void** on_device);
  void (*release_pinned)(v4i_cuda_device* d, void* host);

  int (*make_stream)(v4i_cuda_device* d, v4i_cuda_stream** out);
  void (*drop_stream)(v4i_cuda_stream* s);
  int (*wait_stream)(v4i_cuda_stream* s); /* until everything on it is done */
  int (*make_event)(v4i_cuda_device* d, v4i_cuda_event** out);
  void (*drop_event)(v4i_cuda_event* e);
  int (*record)(v4i_cuda_stream* s, v4i_cuda_event* e);
  int (*follow)(v4i_cuda_stream* s, v4i_cuda_event* e); /* later work of s waits for e */
  int (*wait_event)(v4i_cuda_event* e);
  int (*event_ms)(v4i_cuda_event* from, v4i_cuda_event* to, float* ms); /* both are done */

  /* On a stream; host memory must be pinned for a copy to be asynchronous and stays untouched until
   * it is done.  Unpinned host memory is allowed outside of a capture. */
  int (*copy)(v4i_cuda_stream* s, void* to, const void* from, size_t bytes, int direction);
  int (*fill)(v4i_cuda_stream* s, void* to, int byte, size_t bytes);

  /* By name, "v4i_products_few"; valid as long as the device.  `args` is copied. */
  int (*find_kernel)(v4i_cuda_device* d, const char* name, v4i_cuda_kernel** out);
  int (*launch)(v4i_cuda_stream* s, v4i_cuda_kernel* k, const uint32_t blocks[3], uint32_t threads,
                size_t shared, const void* args, size_t args_bytes);

  /* Between begin and end nothing runs: calls on the stream, and on streams that follow it, are
   * written down. */
  int (*begin_capture)(v4i_cuda_stream* s);
  int (*end_capture)(v4i_cuda_stream* s, v4i_cuda_graph** out);
  int (*launch_graph)(v4i_cuda_stream* s, v4i_cuda_graph* g);
  void (*drop_graph)(v4i_cuda_graph* g);
} v4i_cuda_api;

/* The one symbol of the library. */
typedef const v4i_cuda_api* (*v4i_cuda_plugin_function)(void);
#define V4I_CUDA_PLUGIN_SYMBOL "v4i_cuda_plugin"

#ifdef __cplusplus
}
#endif
