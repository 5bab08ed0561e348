// A CUDA driver made of host memory, for tests of the plug-in: every call can be made to fail, and
// what is not given back is counted.
//
// Kernels: v4i_test_add (AddArgs), v4i_test_other (OtherArgs).  Work on a stream is done at once,
// unless it is captured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace v4i::test {

struct AddArgs {
  float* to = nullptr;  // to[i] += from[i]; both in memory of the fake device
  const float* from = nullptr;
  std::int64_t count = 0;
};

struct OtherArgs {
  std::int32_t value = 0;
};

struct FakeState {
  // What it pretends to be.
  int version = 13000;
  int devices = 1;
  int major = 9, minor = 0;
  int init_result = 0;
  std::size_t memory = std::size_t{1} << 30;

  // Failures: the call with this number (1 is the first after reset()), or every call of this name.
  long fail_call = 0;
  std::string fail_name;
  int fail_with = 0;

  // What happened.
  long calls = 0;
  std::string failed;                    // the call that was made to fail
  std::vector<std::string> after_death;  // calls on a context after a fatal result
  long alive = 0;                        // contexts, memory, streams, events, modules, graphs
  long leaked = 0;  // of these, when the context was closed without a fatal result before
  std::vector<std::string> mistakes;  // no context, unknown addresses, ...
};

struct FakeDriver : FakeState {
  // The calling thread's state, which the plug-in must leave as it found it.
  virtual void* current() = 0;
  virtual void set_current(void* context) = 0;
  virtual int capture_mode() = 0;
  // All of the above as at the start.
  void reset() { static_cast<FakeState&>(*this) = FakeState(); }

 protected:
  ~FakeDriver() = default;
};

// The symbol "v4i_fake_driver" of the library.
using FakeDriverFunction = FakeDriver* (*)();

}  // namespace v4i::test
