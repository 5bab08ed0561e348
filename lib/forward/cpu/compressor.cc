// Compressed rows: every `ratio` tokens become one KV row by a softmax over their
// gates, channel by channel.  CSA rows overlap: the previous block joins with the
// first half of its channels, the current one with the second.  Spec 2.5.
//
// A token's values and gates are staged in the workspace and kept in the state's ring
// until their rows are complete, so a row has the same bits however the prompt was cut.
#include <algorithm>
#include <span>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

constexpr std::int64_t kChannels = 32;    // of one piece of work
constexpr int kMaxRatio = 128;            // checked at open (shapes.cc)
constexpr std::int64_t kRowWork = 16384;  // of a finished row, as share() counts it

// One of a layer's compressors: of KV rows, or of index keys.
struct Job {
  const model::Compressor& weights;
  std::int64_t dim = 0;  // of a row
  int ratio = 0;
  bool overlap = false;
  std::int64_t slot = 0;    // floats before this compressor's part of a token's slot
  std::int64_t stride = 0;  // floats of a slot
  int kv_layer = 0;
  kv::RowKind kind;
  float* pooled;  // its part of the workspace
  std::int64_t width() const { return overlap ? 2 * dim : dim; }
};

// Adds the position's bias to the gates of token t, channels [begin, end).
void add_ape(const Pass& p, const Job& job, std::int64_t t, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = job.width();
  const float* ape = job.weights.ape.data() + p.token(t).position % job.ratio * width;
  float* gate = p.w.partial.data() + t * job.stride + job.slot + width;
  for (std::int64_t c = begin; c < end; ++c) gate[c] = gate[c] + ape[c];
}

void pool_row(const Pass& p, const Job& job, const NewRow& r, std::int64_t begin, std::int64_t end,
              float* out) {
  const float* value[2 * kMaxRatio];
  int count = 0;
  const std::int64_t first = r.row * job.ratio;
  const auto at = [&](std::int64_t position) {
    return partial_row(p, job.kv_layer, r.token, position) + job.slot;
  };
  if (job.overlap && r.row > 0)
    for (std::int64_t i = first - job.ratio; i < first; ++i) value[count++] = at(i);
  for (std::int64_t i = first; i < first + job.ratio; ++i)
    value[count++] = at(i) + (job.overlap ? job.dim : 0);
  p.kernels.pool({value, count, job.width(), begin, end, out});
}

// One range of channels of all tokens and rows.
void pool_channels(const Pass& p, const Job& job, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = 0; t < p.n(); ++t) {
    add_ape(p, job, t, begin, end);
    if (job.overlap) add_ape(p, job, t, job.dim + begin, job.dim + end);
  }
  for (std::size_t i = 0; i < p.new_rows.size(); ++i)
    pool_row(p, job, p.new_rows[i], begin, end,
             job.pooled + static_cast<std::int64_t>(i) * job.dim);
}

void pool_rows(Pass& p, std::span<const Job> jobs) {
  std::int64_t pieces = 0, work = 0;
  for (const Job& job : jobs) {
    pieces += (job.dim + kChannels - 1) / kChannels;
    work += p.n() * job.width() +
            static_cast<std::int64_t>(p.new_rows.size()) * job.ratio * job.width();
  }
  share(p, pieces, work, [&](std::int64_t begin, std::int64_t end) {
    for (const Job& job : jobs) {
      const std::int64_t mine = (job.dim + kChannels - 1) / kChannels;
      const std::int64_t first = std::max<std::int64_t>(begin, 0) * kChannels;
      const std::int64_t last = std::min(std::min(end, mine) * kChannels, job.dim);
      if (first < last) pool_channels(p, job, first, last);
      begin -= mine;
      end -= mine;
    }
  });
}

std::byte* row_place(const Pass& p, const Job& job, std::size_t i) {
  const NewRow& r = p.new_rows[i];
  return p.state(r.token).new_row(job.kv_layer, job.kind, r.row);
}

// Norm, rope and stored form of pooled row i; its position is the block's first token's.
void finish_row(const Pass& p, const Job& job, std::size_t i, const float* turn) {
  const std::int64_t rope = p.config.rope_dim;
  float* row = job.pooled + static_cast<std::int64_t>(i) * job.dim;
  p.round(row, job.dim);
  kernels::rms_norm(row, job.weights.norm.data(), job.dim, p.config.norm_eps, row);
  p.round(row, job.dim);
  kernels::rope(row + job.dim - rope, turn, rope, false);
  p.round(row + job.dim - rope, rope);
  if (job.kind == kv::RowKind::kMain)
    store_row(p, p.layout().main_row, row, row_place(p, job, i));
  else
    store_key(p, row, true, row_place(p, job, i));
}

void finish_rows(Pass& p, std::span<const Job> jobs, const std::vector<float>& freq) {
  const auto rows = static_cast<std::int64_t>(p.new_rows.size());
  share(p, rows, (rows - 1) * kRowWork, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float turn[kernels::kMaxRope];
      fill_turn(freq, p.new_rows[static_cast<std::size_t>(i)].row * jobs[0].ratio, turn);
      for (const Job& job : jobs) finish_row(p, job, static_cast<std::size_t>(i), turn);
    }
  });
}

}  // namespace

void find_new_rows(Pass& p, int ratio) {
  p.new_rows.clear();
  for (std::int64_t t = 0; t < p.n(); ++t) {
    const std::int64_t position = p.token(t).position;
    if ((position + 1) % ratio == 0)
      p.new_rows.push_back({static_cast<std::int32_t>(t), position / ratio});
  }
}

void compress(Pass& p, const LayerOf& layer) {
  const model::Config& c = p.config;
  const model::Attention& a = layer.block.attn;
  const model::LayerPlan& plan = layer.plan;
  find_new_rows(p, plan.ratio);
  const kv::LayerLayout& l = p.layout().layers[static_cast<std::size_t>(layer.kv)];
  const auto stride = static_cast<std::int64_t>(l.partial_floats());
  const std::int64_t n = p.n();
  const Job jobs[] = {{a.compressor, c.head_dim, plan.ratio, plan.overlap, 0, stride, layer.kv,
                       kv::RowKind::kMain, p.w.pooled.data()},
                      {a.indexer.compressor, c.index_dim, plan.ratio, plan.overlap, l.partial_width,
                       stride, layer.kv, kv::RowKind::kIndex, p.w.pooled.data() + n * c.head_dim}};
  const std::span<const Job> used(jobs, plan.indexer ? 2 : 1);
  Product products[4];
  std::size_t count = 0;
  for (const Job& job : used) {
    float* slot = p.w.partial.data() + job.slot;
    const auto add = [&](const Weight& w, float* y) {
      Product& q = products[count++] = {&w, product_of(p, w, p.w.x.data(), c.width, n)};
      q.a.y = y;
      q.a.y_stride = stride;
      q.a.round_bf16 = false;
    };
    add(job.weights.wkv, slot);
    add(job.weights.wgate, slot + job.width());
  }
  multiply_all(p, {products, count});
  pool_rows(p, used);
  if (!p.new_rows.empty()) finish_rows(p, used, plan.yarn_rope ? p.freq_b : p.freq_a);
}

}  // namespace v4i::forward::cpu
