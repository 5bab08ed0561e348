// The last layer of a prompt: nobody reads the streams of most of its tokens, so after their KV
// rows are made only the tokens with outputs go on.  A token's bits do not depend on its company.
#include <cstring>

#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

// Row from[i] of `width` values becomes row i; from rises, so nothing is overwritten early.
void pick(Buffer<float>& rows, std::int64_t width, const std::vector<std::int32_t>& from) {
  for (std::size_t i = 0; i < from.size(); ++i)
    if (static_cast<std::size_t>(from[i]) != i)
      std::memcpy(rows.data() + static_cast<std::int64_t>(i) * width, rows.data() + from[i] * width,
                  sizeof(float) * static_cast<std::size_t>(width));
}

}  // namespace

void keep_outputs(Pass& p) {
  Workspace& w = p.w;
  const model::Config& c = p.config;
  const std::int64_t streams = c.hc_mult;
  pick(w.streams, streams * c.width, p.outputs);
  pick(w.post, streams, p.outputs);
  pick(w.comb, streams * streams, p.outputs);
  pick(w.x, c.width, p.outputs);
  if (p.fp8_inputs()) pick(w.xq, c.width, p.outputs);
  pick(w.rope_a, c.rope_dim, p.outputs);
  pick(w.rope_b, c.rope_dim, p.outputs);
  for (std::size_t i = 0; i < p.outputs.size(); ++i)
    p.tokens[i] = p.tokens[static_cast<std::size_t>(p.outputs[i])];
  p.tokens.resize(p.outputs.size());
}

}  // namespace v4i::forward
