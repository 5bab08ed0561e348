// Embedding rows in, logits out: at most Workspace::kHeadTokens rows at a time.  Spec 2.2.
#include <algorithm>
#include <cstring>

#include "kernels/formats.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

void embed(const model::Model& model, const Token& token, float* x) {
  if (token.embedding != nullptr)
    std::copy_n(token.embedding, model.config().width, x);
  else
    table_row(model.weights().embed, token.id, x);
}

void table_row(const Weight& table, std::int64_t row, float* x) {
  for (std::int64_t c = 0; c < table.cols; ++c) {
    const std::byte* at = static_cast<const std::byte*>(table.data) +
                          (row * table.cols + c) * (table.format == WeightFormat::kF32 ? 4 : 2);
    if (table.format == WeightFormat::kF32) {
      std::memcpy(&x[c], at, sizeof(float));
    } else {
      std::uint16_t code;
      std::memcpy(&code, at, sizeof code);
      x[c] = kernels::decode_bf16(code);
    }
  }
}

void logits(Pass& p, const model::HyperHead& h, const model::Vector& gain,
            std::span<const LogitsRow> rows) {
  Workspace& w = p.w;
  const std::int64_t d = p.config.width, vocab = p.config.vocab;
  const Weight& head = p.model.weights().head;
  const auto n = static_cast<std::int64_t>(rows.size());
  for (std::int64_t j = 0; j < n; ++j)
    hyper_head(p, h, rows[std::size_t(j)].token, w.head_x.data() + j * d);
  norm(p, w.head_x.data(), gain, n, w.head_x.data());
  linear(p, head, w.head_x.data(), d, n, w.head_logits.data(), vocab, false);
  for (std::int64_t j = 0; j < n; ++j)
    std::memcpy(rows[std::size_t(j)].logits, w.head_logits.data() + j * vocab,
                sizeof(float) * std::size_t(vocab));
}

}  // namespace v4i::forward::cpu
