// Section 1 of v4infer.h: status, errors, version.
#include <cstring>
#include <new>

#include "lib/capi/boundary.h"

#define V4I_TEXT2(x) #x
#define V4I_TEXT(x) V4I_TEXT2(x)
#ifndef V4I_VERSION_SUFFIX
#define V4I_VERSION_SUFFIX ""  // the build may add "+gabcdef"
#endif

namespace v4i::capi {

static_assert(V4I_E_INVALID == static_cast<int>(Code::kInvalid));
static_assert(V4I_E_ABI == static_cast<int>(Code::kAbi));
static_assert(V4I_E_NO_MEMORY == static_cast<int>(Code::kNoMemory));
static_assert(V4I_E_IO == static_cast<int>(Code::kIo));
static_assert(V4I_E_FORMAT == static_cast<int>(Code::kFormat));
static_assert(V4I_E_UNSUPPORTED == static_cast<int>(Code::kUnsupported));
static_assert(V4I_E_CANCELLED == static_cast<int>(Code::kCancelled));
static_assert(V4I_E_BUSY == static_cast<int>(Code::kBusy));
static_assert(V4I_E_STATE == static_cast<int>(Code::kState));
static_assert(V4I_E_CONTEXT_FULL == static_cast<int>(Code::kContextFull));
static_assert(V4I_E_DEVICE == static_cast<int>(Code::kDevice));
static_assert(V4I_E_INTERNAL == static_cast<int>(Code::kInternal));

namespace {

constexpr const char* kVersion =
    V4I_TEXT(V4I_VERSION_MAJOR) "." V4I_TEXT(V4I_VERSION_MINOR) "." V4I_TEXT(V4I_VERSION_PATCH)
        V4I_VERSION_SUFFIX;

#if defined(__clang__)
#define V4I_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define V4I_COMPILER "gcc " __VERSION__
#else
#define V4I_COMPILER "unknown"
#endif
#if defined(__x86_64__)
#define V4I_MACHINE "x86_64"
#define V4I_ISAS "\"scalar\", \"avx2\", \"avx512\", \"avx512bf16\""
#elif defined(__aarch64__)
#define V4I_MACHINE "aarch64"
#define V4I_ISAS "\"scalar\", \"neon\", \"neonbf16\""
#else
#define V4I_MACHINE "other"
#define V4I_ISAS "\"scalar\""
#endif

// "isa" are the instruction sets the run-time choice may pick from; which one an
// engine runs is v4i_device_info.arch.
constexpr const char* kBuildInfo =
    "{\"compiler\": \"" V4I_COMPILER "\", \"machine\": \"" V4I_MACHINE "\", \"isa\": [" V4I_ISAS
    "], \"cuda\": false}";

constexpr struct {
  v4i_status status;
  const char* name;
} kNames[] = {
    {V4I_OK, "V4I_OK"},
    {V4I_E_INVALID, "V4I_E_INVALID"},
    {V4I_E_ABI, "V4I_E_ABI"},
    {V4I_E_NO_MEMORY, "V4I_E_NO_MEMORY"},
    {V4I_E_IO, "V4I_E_IO"},
    {V4I_E_FORMAT, "V4I_E_FORMAT"},
    {V4I_E_UNSUPPORTED, "V4I_E_UNSUPPORTED"},
    {V4I_E_CANCELLED, "V4I_E_CANCELLED"},
    {V4I_E_BUSY, "V4I_E_BUSY"},
    {V4I_E_STATE, "V4I_E_STATE"},
    {V4I_E_CONTEXT_FULL, "V4I_E_CONTEXT_FULL"},
    {V4I_E_DEVICE, "V4I_E_DEVICE"},
    {V4I_E_INTERNAL, "V4I_E_INTERNAL"},
};

struct Proc {
  const char* name;
  v4i_proc proc;
};
// Every function of v4infer.h; tests/capi compares the list with the header.
const Proc kProcs[] = {
#define V4I_PROC(name) {#name, reinterpret_cast<v4i_proc>(&name)},
#include "lib/capi/procs.inc"
#undef V4I_PROC
};

}  // namespace

v4i_error* no_memory_error() noexcept {
  // Short enough to live inside the string object: making it needs no memory.
  // Never destroyed: a static destructor would be code at the end of the host's process.
  alignas(v4i_error) static unsigned char place[sizeof(v4i_error)];
  static v4i_error* const error = new (place) v4i_error{V4I_E_NO_MEMORY, "out of memory"};
  return error;
}

}  // namespace v4i::capi

using namespace v4i::capi;

extern "C" {

uint32_t v4i_abi_version(void) { return V4I_ABI_VERSION; }
const char* v4i_version_string(void) { return kVersion; }
const char* v4i_build_info(void) { return kBuildInfo; }

v4i_proc v4i_get_proc(const char* name) {
  if (name == nullptr) return nullptr;
  for (const Proc& p : kProcs)
    if (std::strcmp(p.name, name) == 0) return p.proc;
  return nullptr;
}

const char* v4i_status_name(v4i_status s) {
  for (const auto& n : kNames)
    if (n.status == s) return n.name;
  return "V4I_E_UNKNOWN";
}

v4i_status v4i_error_code(const v4i_error* e) { return e == nullptr ? V4I_OK : e->code; }
const char* v4i_error_message(const v4i_error* e) { return e == nullptr ? "" : e->text.c_str(); }
void v4i_error_free(v4i_error* e) {
  if (e != no_memory_error()) delete e;
}

}  // extern "C"
