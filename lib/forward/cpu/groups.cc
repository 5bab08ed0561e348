// Tokens grouped by the experts that they go to; see experts.h.
#include <algorithm>

#include "lib/forward/cpu/experts.h"

namespace v4i::forward::cpu {

Routed group_by_expert(const Chosen& c, const GroupRoom& room) {
  const std::int64_t choices = c.tokens * c.each;
  std::int32_t* begin = room.begin;
  std::fill_n(begin, c.experts + 1, 0);
  for (std::int64_t s = 0; s < choices; ++s)
    if (c.expert[s] >= c.first) ++begin[c.expert[s] + 1];
  std::size_t active = 0;
  for (std::int32_t e = 0; e < c.experts; ++e) {
    if (begin[e + 1] > 0) room.active[active++] = e;
    begin[e + 1] += begin[e];
  }
  // Filling moves begin[e] to the end of e, which is the begin of e + 1.
  for (std::int64_t s = 0; s < choices; ++s) {
    if (c.expert[s] < c.first) continue;
    const std::int32_t slot = begin[c.expert[s]]++;
    room.token[slot] = static_cast<std::int32_t>(s / c.each);
    room.weight[slot] = c.weight[s];
  }
  std::copy_backward(begin, begin + c.experts, begin + c.experts + 1);
  begin[0] = 0;
  return {c.tokens, begin[c.experts], {room.active, active}, begin, room.token, room.weight};
}

}  // namespace v4i::forward::cpu
