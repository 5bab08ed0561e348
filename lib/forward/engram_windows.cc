// Windows of token classes; see engram_windows.h.
#include "lib/forward/engram_windows.h"

#include "lib/engram/hash.h"

namespace v4i::forward {

void add_window(const engram::ClassMap& classes, const kv::Prefix& prefix, std::int64_t position,
                std::int64_t size, std::vector<std::int32_t>* out) {
  for (std::int64_t at = position; at > position - size; --at) {
    const bool text = at >= 0 && !prefix.is_media(at);
    out->push_back(text ? classes.of(prefix.id(at)) : engram::kDead);
  }
}

}  // namespace v4i::forward
