// Where a broken V4I_CHECK ends; see error.h.
#include "lib/base/error.h"

#include <cstring>

namespace v4i {

void check_failed(const char* condition, const char* file, int line) {
  const char* slash = std::strrchr(file, '/');
  fail(Code::kInternal, "internal check failed: {} ({}:{})", condition, slash ? slash + 1 : file,
       line);
}

}  // namespace v4i
