// The race check's notes of accesses.
#pragma once

#include <cstddef>

#include "tests/cuda/emulate/message.h"

namespace v4i::emulate {

enum class Access { kRead, kWrite, kAtomic };

// Fails where nothing orders this access of the running thread after an earlier one.
void note_access(const void* p, std::size_t bytes, Access access, const void* place);

// Adds " at file.cu:12" of an instruction, if the program's debug information says so.
void add_source_line(Message& m, const void* place);

}  // namespace v4i::emulate
