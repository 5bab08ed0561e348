// Compressed rows: every `ratio` tokens become one KV row by a softmax over their
// gates, channel by channel.  CSA rows overlap: the previous block joins with the
// first half of its channels, the current one with the second.  Spec 2.5.
//
// A token's values and gates are kept in the state's ring until their rows are
// complete, so a row has the same bits however the prompt was cut.
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

constexpr std::int64_t kChannels = 32;  // of one piece of work
constexpr int kMaxRatio = 128;          // checked in Forward's constructor

struct Job {
  const model::Compressor& weights;
  std::int64_t dim = 0;  // of a row
  int ratio = 0;
  bool overlap = false;
  std::int64_t slot = 0;  // floats before this compressor's part of a ring slot
  int kv_layer = 0;
  const std::vector<float>& freq;
  std::int64_t width() const { return overlap ? 2 * dim : dim; }
};

// Values and gates (+ ape) of token t, channels [begin, end), into the ring.
void remember(const Pass& p, const Job& job, std::int64_t t, std::int64_t begin, std::int64_t end) {
  const Token& token = p.tokens[static_cast<std::size_t>(t)];
  const std::int64_t width = job.width();
  float* slot = p.state(token).partial(job.kv_layer, token.position) + job.slot;
  const float* ape = job.weights.ape.data() + token.position % job.ratio * width;
  const float* v = p.w.values.data() + t * width;
  const float* g = p.w.gates.data() + t * width;
  for (std::int64_t c = begin; c < end; ++c) {
    slot[c] = v[c];
    slot[width + c] = g[c] + ape[c];
  }
}

// One channel: softmax over the gates, weighted sum of the values.
float pool_channel(const float* const* slot, const std::int64_t* offset, int count,
                   std::int64_t width, std::int64_t c) {
  float top = -INFINITY;
  for (int i = 0; i < count; ++i) top = std::max(top, slot[i][width + offset[i] + c]);
  float e[2 * kMaxRatio], total = 0;
  for (int i = 0; i < count; ++i) {
    e[i] = std::exp(slot[i][width + offset[i] + c] - top);
    total += e[i];
  }
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += slot[i][offset[i] + c] * (e[i] / total);
  return sum;
}

void pool_row(const Pass& p, const Job& job, const NewRow& r, std::int64_t begin, std::int64_t end,
              float* out) {
  const Token& token = p.tokens[static_cast<std::size_t>(r.token)];
  const kv::State& state = p.state(token);
  const float* slot[2 * kMaxRatio];
  std::int64_t offset[2 * kMaxRatio];
  int count = 0;
  const std::int64_t first = r.row * job.ratio;
  if (job.overlap && r.row > 0) {
    for (std::int64_t at = first - job.ratio; at < first; ++at, ++count) {
      slot[count] = state.partial(job.kv_layer, at) + job.slot;
      offset[count] = 0;
    }
  }
  for (std::int64_t at = first; at < first + job.ratio; ++at, ++count) {
    slot[count] = state.partial(job.kv_layer, at) + job.slot;
    offset[count] = job.overlap ? job.dim : 0;
  }
  for (std::int64_t c = begin; c < end; ++c)
    out[c] = pool_channel(slot, offset, count, job.width(), c);
}

// Tokens in order, one range of channels: the ring always holds what a row needs.
void pool_channels(const Pass& p, const Job& job, std::int64_t begin, std::int64_t end) {
  std::size_t next = 0;
  for (std::int64_t t = 0; t < p.n(); ++t) {
    remember(p, job, t, begin, end);
    if (job.overlap) remember(p, job, t, job.dim + begin, job.dim + end);
    if (next < p.new_rows.size() && p.new_rows[next].token == t) {
      pool_row(p, job, p.new_rows[next], begin, end,
               p.w.pooled.data() + static_cast<std::int64_t>(next) * job.dim);
      ++next;
    }
  }
}

void pool_rows(Pass& p, const Job& job, const float* x) {
  const std::int64_t width = job.width();
  linear(p, job.weights.wkv, x, p.config.width, p.n(), p.w.values.data(), width, false);
  linear(p, job.weights.wgate, x, p.config.width, p.n(), p.w.gates.data(), width, false);
  p.pool.run((job.dim + kChannels - 1) / kChannels, [&](std::int64_t begin, std::int64_t end, int) {
    pool_channels(p, job, begin * kChannels, std::min(end * kChannels, job.dim));
  });
}

// Norm and rope of pooled row i; its position is the block's first token's.
float* finish_row(const Pass& p, const Job& job, std::size_t i) {
  float* row = p.w.pooled.data() + static_cast<std::int64_t>(i) * job.dim;
  p.round(row, job.dim);
  kernels::rms_norm(row, job.weights.norm.data(), job.dim, p.config.norm_eps, row);
  p.round(row, job.dim);
  const std::int64_t rope = p.config.rope_dim;
  rope_at(job.freq, p.new_rows[i].row * job.ratio, row + job.dim - rope);
  p.round(row + job.dim - rope, rope);
  return row;
}

std::byte* row_place(const Pass& p, const Job& job, std::size_t i, kv::RowKind kind) {
  const NewRow& r = p.new_rows[i];
  return p.state(p.tokens[static_cast<std::size_t>(r.token)]).new_row(job.kv_layer, kind, r.row);
}

}  // namespace

void compress(Pass& p, const model::Attention& a, const model::LayerPlan& plan, int kv_layer) {
  const model::Config& c = p.config;
  p.new_rows.clear();
  for (std::int64_t t = 0; t < p.n(); ++t) {
    const std::int64_t position = p.tokens[static_cast<std::size_t>(t)].position;
    if ((position + 1) % plan.ratio == 0)
      p.new_rows.push_back({static_cast<std::int32_t>(t), position / plan.ratio});
  }
  const std::vector<float>& freq = plan.yarn_rope ? p.freq_b : p.freq_a;
  const Job main{a.compressor, c.head_dim, plan.ratio, plan.overlap, 0, kv_layer, freq};
  pool_rows(p, main, p.w.x.data());
  for (std::size_t i = 0; i < p.new_rows.size(); ++i)
    store_row(p, finish_row(p, main, i), row_place(p, main, i, kv::RowKind::kMain));
  if (!plan.indexer) return;
  const Job index{a.indexer.compressor, c.index_dim, plan.ratio, plan.overlap,
                  2 * main.width(),     kv_layer,    freq};
  pool_rows(p, index, p.w.x.data());
  for (std::size_t i = 0; i < p.new_rows.size(); ++i)
    store_key(p, finish_row(p, index, i), row_place(p, index, i, kv::RowKind::kIndex));
}

}  // namespace v4i::forward
