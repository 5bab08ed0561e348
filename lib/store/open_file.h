// Opens files for a ReadQueue.
#pragma once

#include <string>

namespace v4i::store {

// A descriptor to read `path` with, or -1 with errno.  `direct`: past the page cache, where the
// file system can; for those who keep what they read, of which a second copy would take memory that
// no budget knows of.
int open_for_reads(const std::string& path, bool direct);

}  // namespace v4i::store
