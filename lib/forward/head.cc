// Embedding rows in, logits out.  Spec 2.2.
#include <algorithm>
#include <cstring>

#include "kernels/formats.h"
#include "lib/forward/pass.h"

namespace v4i::forward {

void embed(Pass& p, std::int32_t id, float* x) {
  const model::Linear& table = p.model.weights().embed;
  const std::int64_t d = p.config.width;
  for (std::int64_t c = 0; c < d; ++c) {
    const std::byte* at =
        table.data + (id * d + c) * (table.format == model::WeightFormat::kF32 ? 4 : 2);
    if (table.format == model::WeightFormat::kF32) {
      std::memcpy(&x[c], at, sizeof(float));
    } else {
      std::uint16_t code;
      std::memcpy(&code, at, sizeof code);
      x[c] = kernels::decode_bf16(code);
    }
  }
}

void logits(Pass& p, const model::HyperHead& h, const model::Vector& gain,
            std::span<const HeadRow> rows) {
  Workspace& w = p.w;
  const std::int64_t d = p.config.width, vocab = p.config.vocab;
  const model::Linear& head = p.model.weights().head;
  for (std::size_t i = 0; i < rows.size(); i += Workspace::kHeadTokens) {
    const std::size_t n = std::min<std::size_t>(Workspace::kHeadTokens, rows.size() - i);
    for (std::size_t j = 0; j < n; ++j)
      hyper_head(p, h, rows[i + j].token, w.head_x.data() + std::int64_t(j) * d);
    norm(p, w.head_x.data(), gain, std::int64_t(n), w.head_x.data());
    linear(p, head, w.head_x.data(), d, std::int64_t(n), w.head_logits.data(), vocab, false);
    for (std::size_t j = 0; j < n; ++j)
      std::memcpy(rows[i + j].logits, w.head_logits.data() + std::int64_t(j) * vocab,
                  sizeof(float) * std::size_t(vocab));
  }
}

}  // namespace v4i::forward
