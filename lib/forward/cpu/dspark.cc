// DSpark: taps of the model's streams, which are the window of its stages, and the guesses behind a
// block.  Spec 3.2; V4.1's 5.
#include <algorithm>

#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

// One of its head's rows holds what the Markov head adds.
constexpr std::int64_t kTokens = Workspace::kHeadTokens - 1;

// Logits of the last stage for tokens [first, first + n) of the block, before the Markov head, in
// w.head_logits; what their streams collapse to stays in w.x.
void block_logits(Pass& p, std::int64_t first, std::int64_t n) {
  Workspace& w = p.w;
  const model::Dspark& m = p.model.weights().dspark;
  const std::int64_t d = p.config.width, vocab = p.config.vocab;
  for (std::int64_t i = 0; i < n; ++i) hyper_head(p, m.head, first + i, w.x.data() + i * d);
  norm(p, w.x.data(), m.norm, n, w.head_x.data());
  linear(p, p.model.weights().head, w.head_x.data(), d, n, w.head_logits.data(), vocab, false);
}

// Adds what the Markov head says behind `before`, which lies in `e`.
void add_markov(Pass& p, const float* e, float* logits) {
  const std::int64_t vocab = p.config.vocab, rank = p.config.dspark_markov_rank;
  float* more = p.w.head_logits.data() + kTokens * vocab;
  linear(p, p.model.weights().dspark.markov_w2, e, rank, 1, more, vocab, false);
  for (std::int64_t v = 0; v < vocab; ++v) logits[v] += more[v];
}

}  // namespace

void tap(const Pass& p, std::size_t which) {
  const std::int64_t d = p.config.width, streams = p.config.hc_mult;
  const std::int64_t taps = std::ssize(p.config.dspark_target_layers);
  for (std::int64_t t = 0; t < p.n(); ++t) {
    const Token& token = p.token(t);
    const std::int64_t row = p.batch->tap_of(token);
    if (row < 0) continue;
    float* to = p.batch->items()[static_cast<std::size_t>(token.item)].taps +
                (row * taps + static_cast<std::int64_t>(which)) * d;
    const float* from = p.w.streams.data() + t * streams * d;
    std::copy_n(from, d, to);
    for (std::int64_t s = 1; s < streams; ++s)
      for (std::int64_t i = 0; i < d; ++i) to[i] += from[s * d + i];
    for (std::int64_t i = 0; i < d; ++i) to[i] /= static_cast<float>(streams);
    p.round(to, d);
  }
}

void feed(Pass& p, const float* taps) {
  Workspace& w = p.w;
  const model::Dspark& m = p.model.weights().dspark;
  const std::int64_t d = p.config.width;
  const float* x = quantised(p, taps, p.n(), m.main_proj.cols, w.wide.data());
  linear(p, m.main_proj, x, m.main_proj.cols, p.n(), w.x.data(), d, true);
  norm(p, w.x.data(), m.main_norm, p.n(), w.x.data());
  for (std::size_t s = 0; s < m.stages.size(); ++s) {
    make_rows(p, m.stages[s].attn, p.model.plan().draft);
    keep_rows(p, static_cast<int>(s));
  }
}

void guess(Pass& p, const Guesses& out) {
  Workspace& w = p.w;
  const model::Dspark& m = p.model.weights().dspark;
  const std::int64_t d = p.config.width, vocab = p.config.vocab, rank = p.config.dspark_markov_rank;
  float* x = w.wide.data();  // of the confidence: the collapsed streams, the Markov embedding
  std::int32_t before = p.token(0).id;
  for (std::int64_t k = 0; k < p.n(); ++k) {
    if (k % kTokens == 0) block_logits(p, k, std::min(kTokens, p.n() - k));
    float* logits = w.head_logits.data() + k % kTokens * vocab;
    std::copy_n(w.x.data() + k % kTokens * d, d, x);
    p.model.check_rows(m.markov_w1, before, before + 1);
    table_row(m.markov_w1, before, x + d);
    add_markov(p, x + d, logits);
    linear(p, m.confidence, x, d + rank, 1, out.confidence + k, 1, false);
    before = out.ids[k] =
        static_cast<std::int32_t>(std::max_element(logits, logits + vocab) - logits);
    if (out.logits != nullptr) std::copy_n(logits, vocab, out.logits + k * vocab);
  }
}

}  // namespace v4i::forward::cpu
