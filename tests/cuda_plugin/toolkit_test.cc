// Our declarations of the driver's functions against those of an installed toolkit.
#include "tests/support/catch.h"

#if __has_include(<cuda.h>)
#include <cuda.h>
#endif

#if defined(CUDA_VERSION) && CUDA_VERSION >= 13000
#define V4I_CUDA_TOOLKIT_TYPES
#include <type_traits>

#include "kernels/cuda/driver/functions.h"

namespace driver = v4i::kernels::cuda::driver;

#define V4I_SAME(name, parameters) \
  static_assert(std::is_same_v<decltype(driver::Functions::name), decltype(&::name)>, #name);
V4I_CUDA_FUNCTIONS(V4I_SAME)

static_assert(sizeof(CUresult) == sizeof(int) && sizeof(CUdevice_attribute) == sizeof(int) &&
              sizeof(CUfunction_attribute) == sizeof(int) &&
              sizeof(CUstreamCaptureMode) == sizeof(int) && sizeof(CUdevice) == sizeof(int) &&
              sizeof(CUdeviceptr) == sizeof(unsigned long long));

#define V4I_EQUAL(ours, theirs) \
  static_assert(static_cast<int>(driver::ours) == static_cast<int>(theirs), #ours);
V4I_EQUAL(kSuccess, CUDA_SUCCESS)
V4I_EQUAL(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY)
V4I_EQUAL(kDeinitialized, CUDA_ERROR_DEINITIALIZED)
V4I_EQUAL(kStubLibrary, CUDA_ERROR_STUB_LIBRARY)
V4I_EQUAL(kDeviceUnavailable, CUDA_ERROR_DEVICE_UNAVAILABLE)
V4I_EQUAL(kNoDevice, CUDA_ERROR_NO_DEVICE)
V4I_EQUAL(kInvalidContext, CUDA_ERROR_INVALID_CONTEXT)
V4I_EQUAL(kEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE)
V4I_EQUAL(kNvlinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE)
V4I_EQUAL(kContained, CUDA_ERROR_CONTAINED)
V4I_EQUAL(kNotFound, CUDA_ERROR_NOT_FOUND)
V4I_EQUAL(kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS)
V4I_EQUAL(kLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT)
V4I_EQUAL(kContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED)
V4I_EQUAL(kAssert, CUDA_ERROR_ASSERT)
V4I_EQUAL(kHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR)
V4I_EQUAL(kIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION)
V4I_EQUAL(kMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS)
V4I_EQUAL(kInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE)
V4I_EQUAL(kInvalidPc, CUDA_ERROR_INVALID_PC)
V4I_EQUAL(kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED)
V4I_EQUAL(kTensorMemoryLeak, CUDA_ERROR_TENSOR_MEMORY_LEAK)
V4I_EQUAL(kMpsRpcFailure, CUDA_ERROR_MPS_RPC_FAILURE)
V4I_EQUAL(kMpsClientTerminated, CUDA_ERROR_MPS_CLIENT_TERMINATED)
V4I_EQUAL(kExternalDevice, CUDA_ERROR_EXTERNAL_DEVICE)
V4I_EQUAL(kUnknown, CUDA_ERROR_UNKNOWN)
V4I_EQUAL(kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
V4I_EQUAL(kComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
V4I_EQUAL(kComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
V4I_EQUAL(kMaxSharedPerBlockOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
V4I_EQUAL(kFunctionSharedBytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
V4I_EQUAL(kFunctionMaxDynamicShared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
V4I_EQUAL(kStreamNonBlocking, CU_STREAM_NON_BLOCKING)
V4I_EQUAL(kHostAllocPortable, CU_MEMHOSTALLOC_PORTABLE)
V4I_EQUAL(kHostAllocDeviceMap, CU_MEMHOSTALLOC_DEVICEMAP)
V4I_EQUAL(kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
V4I_EQUAL(kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED)
V4I_EQUAL(kParamEnd, CU_LAUNCH_PARAM_END_AS_INT)
V4I_EQUAL(kParamBufferPointer, CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT)
V4I_EQUAL(kParamBufferSize, CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT)

TEST_CASE("the driver's functions are declared as in the toolkit") { SUCCEED("when compiled"); }
#endif
