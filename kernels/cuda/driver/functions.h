// The functions of the CUDA driver that we call: our own declarations, so that no toolkit is needed
// to compile this folder.  tests/cuda_plugin/toolkit_test.cc compares them with the toolkit's.
//
// The driver (libcuda.so.1, nvcuda.dll) is opened when it is first asked for and stays open until
// the process ends: it runs threads of its own.
#pragma once

#include <cstddef>

#if defined(V4I_CUDA_TOOLKIT_TYPES)  // the test: the same list with the toolkit's types
#include <cuda.h>
#endif

namespace v4i::kernels::cuda::driver {

#if defined(V4I_CUDA_TOOLKIT_TYPES)
using Result = ::CUresult;
using DeviceAttribute = ::CUdevice_attribute;
using FunctionAttribute = ::CUfunction_attribute;
using CaptureMode = ::CUstreamCaptureMode;
using DeviceNumber = ::CUdevice;
using Address = ::CUdeviceptr;
using Context = ::CUcontext;
using Module = ::CUmodule;
using Function = ::CUfunction;
using Stream = ::CUstream;
using Event = ::CUevent;
using Graph = ::CUgraph;
using GraphExec = ::CUgraphExec;
#else
using Result = int;  // an enum of C, and so are the next three
using DeviceAttribute = int;
using FunctionAttribute = int;
using CaptureMode = int;
using DeviceNumber = int;
using Address = unsigned long long;
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Graph = struct GraphTag*;
using GraphExec = struct GraphExecTag*;
#endif

#if defined(_WIN32)
#define V4I_CUDA_CALL __stdcall
#else
#define V4I_CUDA_CALL
#endif

// Results (CUDA_ERROR_...).
enum : int {
  kSuccess = 0,
  kOutOfMemory = 2,
  kDeinitialized = 4,
  kStubLibrary = 34,
  kDeviceUnavailable = 46,
  kNoDevice = 100,
  kInvalidContext = 201,
  kEccUncorrectable = 214,
  kNvlinkUncorrectable = 220,
  kContained = 226,
  kNotFound = 500,
  kIllegalAddress = 700,
  kLaunchTimeout = 702,
  kContextIsDestroyed = 709,
  kAssert = 710,
  kHardwareStackError = 714,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kInvalidAddressSpace = 717,
  kInvalidPc = 718,
  kLaunchFailed = 719,
  kTensorMemoryLeak = 721,
  kMpsRpcFailure = 806,
  kMpsClientTerminated = 810,
  kExternalDevice = 911,
  kUnknown = 999
};

// Attributes, flags and modes.
enum : int {
  kMultiprocessorCount = 16,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
  kMaxSharedPerBlockOptin = 97,
  kFunctionSharedBytes = 1,
  kFunctionMaxDynamicShared = 8,
  kStreamNonBlocking = 1,
  kHostAllocPortable = 1,
  kHostAllocDeviceMap = 2,
  kCaptureThreadLocal = 1,
  kCaptureRelaxed = 2,
  kParamEnd = 0,
  kParamBufferPointer = 1,
  kParamBufferSize = 2
};

#define V4I_CUDA_FUNCTIONS(X)                                                                \
  X(cuInit, (unsigned flags))                                                                \
  X(cuDriverGetVersion, (int* version))                                                      \
  X(cuGetErrorName, (Result r, const char** text))                                           \
  X(cuGetErrorString, (Result r, const char** text))                                         \
  X(cuDeviceGetCount, (int* count))                                                          \
  X(cuDeviceGet, (DeviceNumber * out, int ordinal))                                          \
  X(cuDeviceGetName, (char* name, int size, DeviceNumber d))                                 \
  X(cuDeviceGetAttribute, (int* out, DeviceAttribute attribute, DeviceNumber d))             \
  X(cuDeviceTotalMem_v2, (std::size_t * bytes, DeviceNumber d))                              \
  X(cuDevicePrimaryCtxRetain, (Context * out, DeviceNumber d))                               \
  X(cuDevicePrimaryCtxRelease_v2, (DeviceNumber d))                                          \
  X(cuCtxPushCurrent_v2, (Context c))                                                        \
  X(cuCtxPopCurrent_v2, (Context * out))                                                     \
  X(cuMemGetInfo_v2, (std::size_t * free, std::size_t * total))                              \
  X(cuMemAlloc_v2, (Address * out, std::size_t bytes))                                       \
  X(cuMemFree_v2, (Address p))                                                               \
  X(cuMemHostAlloc, (void** out, std::size_t bytes, unsigned flags))                         \
  X(cuMemHostGetDevicePointer_v2, (Address * out, void* host, unsigned flags))               \
  X(cuMemFreeHost, (void* host))                                                             \
  X(cuStreamCreate, (Stream * out, unsigned flags))                                          \
  X(cuStreamDestroy_v2, (Stream s))                                                          \
  X(cuStreamSynchronize, (Stream s))                                                         \
  X(cuStreamWaitEvent, (Stream s, Event e, unsigned flags))                                  \
  X(cuEventCreate, (Event * out, unsigned flags))                                            \
  X(cuEventDestroy_v2, (Event e))                                                            \
  X(cuEventRecord, (Event e, Stream s))                                                      \
  X(cuEventSynchronize, (Event e))                                                           \
  X(cuEventElapsedTime, (float* ms, Event from, Event to))                                   \
  X(cuMemcpyHtoDAsync_v2, (Address to, const void* from, std::size_t bytes, Stream s))       \
  X(cuMemcpyDtoHAsync_v2, (void* to, Address from, std::size_t bytes, Stream s))             \
  X(cuMemcpyDtoDAsync_v2, (Address to, Address from, std::size_t bytes, Stream s))           \
  X(cuMemsetD8Async, (Address to, unsigned char byte, std::size_t bytes, Stream s))          \
  X(cuModuleLoadData, (Module * out, const void* image))                                     \
  X(cuModuleUnload, (Module m))                                                              \
  X(cuModuleGetFunction, (Function * out, Module m, const char* name))                       \
  X(cuFuncGetAttribute, (int* out, FunctionAttribute attribute, Function f))                 \
  X(cuFuncSetAttribute, (Function f, FunctionAttribute attribute, int value))                \
  X(cuFuncGetParamInfo,                                                                      \
    (Function f, std::size_t index, std::size_t * offset, std::size_t * bytes))              \
  X(cuLaunchKernel,                                                                          \
    (Function f, unsigned x, unsigned y, unsigned z, unsigned threads_x, unsigned threads_y, \
     unsigned threads_z, unsigned shared, Stream s, void** params, void** extra))            \
  X(cuThreadExchangeStreamCaptureMode, (CaptureMode * mode))                                 \
  X(cuStreamBeginCapture_v2, (Stream s, CaptureMode mode))                                   \
  X(cuStreamEndCapture, (Stream s, Graph * out))                                             \
  X(cuGraphInstantiateWithFlags, (GraphExec * out, Graph g, unsigned long long flags))       \
  X(cuGraphDestroy, (Graph g))                                                               \
  X(cuGraphExecDestroy, (GraphExec g))                                                       \
  X(cuGraphLaunch, (GraphExec g, Stream s))

// The driver: a pointer to each function, named as in it.
struct Functions {
#define V4I_CUDA_DECLARE(name, parameters) Result(V4I_CUDA_CALL* name) parameters = nullptr;
  V4I_CUDA_FUNCTIONS(V4I_CUDA_DECLARE)
#undef V4I_CUDA_DECLARE
};

// The driver, opened and initialised, or null: say() has then said why.
const Functions* functions();

}  // namespace v4i::kernels::cuda::driver
