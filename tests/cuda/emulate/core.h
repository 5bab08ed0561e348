// What a running kernel asks of the emulator.  Everything else is behind it.
//
// One host thread runs one block at a time; the block's threads are fibres.  State belongs to the
// host thread, so several may run kernels at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace v4i::emulate {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// A place in a kernel's source.
struct Place {
  const char* file = nullptr;
  int line = 0;
  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  bool operator==(const Place& o) const {
    return line == o.line && (file == o.file || std::strcmp(file, o.file) == 0);
  }
};

// What all threads of a block see alike.
struct Grid {
  Index block, blocks, threads;  // blockIdx, gridDim, blockDim
  unsigned char* shared = nullptr;
};

struct Fibre;

struct alignas(64) Thread {
  Index index;  // threadIdx
  // What follows is the scheduler's.
  std::uint16_t number = 0;  // in the block
  bool copies = false;       // copies begun and not yet waited for
  bool waits = false;        // at a barrier
  const Grid* grid = nullptr;
  Fibre* fibre = nullptr;  // null: not started, or ended
  Thread* next = nullptr;  // in the list of threads that wait at the same barrier
  Place place;             // of that barrier
};
static_assert(sizeof(Thread) == 64);

// The thread that runs now; null outside of kernels.
extern __thread Thread* self __attribute__((tls_model("initial-exec")));

// The same for code whose accesses are watched, which must not see the emulator's own.
Index thread_index() __attribute__((const));
Index block_index() __attribute__((const));
Index block_size() __attribute__((const));
Index grid_size() __attribute__((const));
unsigned char* block_memory() __attribute__((const));

// Barriers.  Threads that have ended are not waited for.
void block_barrier(Place place);
int block_count(bool vote, Place place);  // __syncthreads_count
void named_barrier(int id, int threads, Place place);
void warp_barrier(Place place);

// Among the lanes of a warp: all that have not ended must take part.
std::uint64_t shuffle(std::uint64_t value, int from, Place place);
std::uint32_t ballot(bool vote, Place place);
float warp_sum(float v, Place place);  // xor 16, 8, 4, 2, 1
float warp_max(float v, Place place);
void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, Place place);
void load_matrices(std::uint32_t* out, const void* row, int count, Place place);  // ldmatrix

// cp.async: nothing arrives before copy_wait (or the thread's end).
void copy_async(void* shared, const void* global, std::size_t bytes);
void copy_commit();
void copy_wait(int groups_left);

// Ends the launch with an error that names kernel, block, thread and schedule.
[[noreturn]] void fail(const char* what);
// Fails where p is not aligned, or where AddressSanitizer says that these bytes are not to be used.
void check_access(const void* p, std::size_t bytes, std::size_t alignment, const char* what);

// Atomic accesses, for the race check; elsewhere they do nothing.
void note_atomic(const void* p, std::size_t bytes, const void* instruction);

struct Kernel {
  const char* name;
  void (*body)(const void* args);
  std::size_t args_bytes;
  unsigned threads;  // at most, of a block
};
const Kernel* find_kernel(const char* name);  // null: none

struct Registration {
  explicit Registration(const Kernel& kernel);
};

}  // namespace v4i::emulate
