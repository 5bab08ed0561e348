// The last layer of a prompt: nobody reads the streams of most of its tokens, so after their KV
// rows are made only the tokens with outputs go on.  A token's bits do not depend on its company.
#include <cstring>

#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

// Row from[i].row of `width` values becomes row i; from rises, so nothing is overwritten early.
template <class T>
void pick(Buffer<T>& rows, std::int64_t width, const std::vector<Token>& from) {
  for (std::size_t i = 0; i < from.size(); ++i)
    if (static_cast<std::size_t>(from[i].row) != i)
      std::memcpy(rows.data() + static_cast<std::int64_t>(i) * width,
                  rows.data() + from[i].row * width, sizeof(T) * static_cast<std::size_t>(width));
}

}  // namespace

void keep_outputs(Pass& p, const Batch& out) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t streams = c.hc_mult;
  pick(w.streams, streams * c.width, out.tokens());
  pick(w.post, streams, out.tokens());
  pick(w.comb, streams * streams, out.tokens());
  pick(w.x, c.width, out.tokens());
  if (p.fp8_inputs()) pick(w.xq, c.width, out.tokens());
  if (p.lagged) pick(w.pre, streams, out.tokens());
  pick(w.selected, c.index_topk, out.tokens());  // maybe of an earlier layer
  if (c.candidate_blocks > 0) {
    pick(w.blocks, c.candidate_blocks, out.tokens());
    pick(w.block_count, 1, out.tokens());
  }
  pick(w.rope_a, c.rope_dim, out.tokens());
  pick(w.rope_b, c.rope_dim, out.tokens());
  p.batch = &out;
}

}  // namespace v4i::forward::cpu
