// The order of the parts within a layer, and what comes before and after the layers.
#include "lib/forward/cpu/executor.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/forward/cpu/vision.h"
#include "lib/forward/engram_windows.h"
#include "lib/forward/layouts.h"
#include "lib/forward/rope.h"

namespace v4i::forward::cpu {

CpuExecutor::CpuExecutor(std::shared_ptr<const model::Model> model, Lookups lookups,
                         const kernels::KernelTable& kernels, ThreadPool& pool, Budget& budget,
                         const Options& o)
    : model_(std::move(model)),
      lookups_(std::move(lookups)),
      budget_(budget),
      identity_(kernels.name),
      freq_a_(rope_frequencies(model_->config(), false)),
      freq_b_(rope_frequencies(model_->config(), true)),
      workspace_(model_->config(), make_layout(model_->config(), model_->plan(), o), o.max_tokens,
                 pool.size(), budget),
      pass_{{*model_, model_->config(), kernels, pool, o.numerics != Numerics::kExact,
             o.numerics == Numerics::kFast, workspace_.threads, workspace_.prepared.data()},
            workspace_,
            *lookups_.experts,
            lookups_.engram.get(),
            freq_a_,
            freq_b_,
            model_->plan().draft.mhc == model::MhcKind::kLagged} {
  pass_.new_rows.reserve(static_cast<std::size_t>(o.max_tokens));
  const model::EngramConfig& e = model_->config().engram;
  V4I_CHECK((lookups_.engram == nullptr) == e.layers.empty());
  if (!e.layers.empty()) windows_.reserve(static_cast<std::size_t>(o.max_tokens * e.max_ngram));
}

std::size_t CpuExecutor::width() const {
  return static_cast<std::size_t>(model_->config().hc_mult * model_->config().width);
}

void CpuExecutor::start(const Batch& batch, Profile* profile) {
  all_ = pass_.batch = &batch;
  pass_.block = false;
  pass_.profile = profile;
  head_count_ = 0;
  pass_.pool.count_busy(profile != nullptr);
  if (profile != nullptr) profile->begin(pass_.pool.busy_ns());
  fill_rope(pass_);
}

void CpuExecutor::begin(const Batch& batch, Streams given, Profile* profile) {
  start(batch, profile);
  begin_engram();
  hint_hashed(pass_);
  const auto n = static_cast<std::size_t>(batch.n());
  if (given.x == nullptr)
    embed_tokens();
  else
    std::memcpy(workspace_.streams.data(), given.x, n * width() * sizeof(float));
  if (pass_.lagged) begin_pre(given.pre);
  pass_.mark(model::Part::kEmbedding);
}

// The first site reads stream 0.
void CpuExecutor::begin_pre(const float* given) {
  const std::int64_t n = model_->config().hc_mult, all = pass_.n() * n;
  float* pre = workspace_.pre.data();
  for (std::int64_t i = 0; i < all; ++i) pre[i] = i % n == 0 ? 1.0f : 0.0f;
  if (given != nullptr) std::copy_n(given, all, pre);
}

// Which rows a token needs is known from the ids up to it, so they are asked for before anything
// else.
void CpuExecutor::begin_engram() {
  if (lookups_.engram == nullptr) return;
  windows_.clear();
  for (std::int64_t t = 0; t < pass_.n(); ++t)
    add_window(lookups_.engram->classes(), pass_.state(t).prefix(), pass_.token(t).position,
               model_->config().engram.max_ngram, &windows_);
  lookups_.engram->begin(windows_);
}

void CpuExecutor::abandon() noexcept {
  if (lookups_.engram != nullptr) lookups_.engram->abandon();
}

void CpuExecutor::embed_tokens() {
  const std::int64_t n = model_->config().hc_mult, d = model_->config().width;
  for (const Token& t : pass_.batch->tokens())
    if (t.embedding == nullptr) model_->touch_embedding(&t.id, 1);
  const std::int64_t work = element_work(pass_.n() * n * d);
  pass_.pool.run(pass_.n(), work, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* streams = workspace_.streams.data() + t * n * d;
      embed(*model_, pass_.token(t), streams);
      for (std::int64_t k = 1; k < n; ++k) std::copy_n(streams, d, streams + k * d);
    }
  });
}

// x_s = e_proj(norm(embedding)) + h_proj(norm(stream s)), one SWA block, own head.
void CpuExecutor::begin_draft(const Batch& batch, const float* hidden) {
  const model::Mtp& m = model_->weights().mtp[0];
  Workspace& w = workspace_;
  start(batch, nullptr);
  embed_tokens();
  const std::int64_t n = pass_.n(), d = model_->config().width, streams = model_->config().hc_mult;
  for (std::int64_t t = 0; t < n; ++t)
    std::copy_n(w.streams.data() + t * streams * d, d, w.x.data() + t * d);
  norm(pass_, w.x.data(), m.enorm, n, w.x.data());
  linear(pass_, m.e_proj, quantised(pass_, w.x.data(), n, d, w.xq.data()), d, n, w.out.data(), d,
         true);
  for (std::int64_t s = 0; s < streams; ++s) {
    for (std::int64_t t = 0; t < n; ++t)
      std::copy_n(hidden + (t * streams + s) * d, d, w.x.data() + t * d);
    norm(pass_, w.x.data(), m.hnorm, n, w.x.data());
    linear(pass_, m.h_proj, quantised(pass_, w.x.data(), n, d, w.xq.data()), d, n,
           w.streams.data() + s * d, streams * d, true);
    for (std::int64_t t = 0; t < n; ++t) {
      float* x = w.streams.data() + (t * streams + s) * d;
      for (std::int64_t i = 0; i < d; ++i) x[i] += w.out[static_cast<std::size_t>(t * d + i)];
      pass_.round(x, d);
    }
  }
}

// The lease goes when the layer is done.
void CpuExecutor::layer(Layer which, const Batch&, const Batch& out, kv::Lease lease) {
  pass_.cancel = lease.cancel();
  const auto own = static_cast<int>(model_->config().layers);
  const int index = which.draft ? own + which.index : which.index;
  const model::LayerPlan& plan =
      which.draft ? model_->plan().draft : model_->plan().layers[static_cast<std::size_t>(index)];
  const std::int64_t active =
      which.draft ? model_->config().draft_experts_active : model_->config().experts_active;
  const LayerOf layer{model_->block(index), plan, which.index, index, active};
  const model::Block& b = layer.block;
  Workspace& w = workspace_;
  if (plan.engram) engram(pass_, layer);
  if (!which.draft && pass_.lagged) tap_layer(index);
  hyper_pre(pass_, b.hc_attn, w.x.data());
  pass_.mark(model::Part::kHyper);
  norm(pass_, w.x.data(), b.attn_norm, pass_.n(), w.x.data());
  pass_.mark(model::Part::kNorm);
  attention(pass_, layer, out);
  if (pass_.n() == 0) return;  // a prompt's last layer without outputs
  hyper_pre(pass_, b.hc_ffn, w.x.data(), w.out.data());
  pass_.mark(model::Part::kHyper);
  norm(pass_, w.x.data(), b.ffn_norm, pass_.n(), w.x.data());
  pass_.mark(model::Part::kNorm);
  moe(pass_, layer);
  hyper_post(pass_, w.out.data());
  if (!which.draft && !pass_.lagged) tap_layer(index);
  pass_.mark(model::Part::kHyper);
}

// V4 taps what its target layers leave, V4.1 what they find.
void CpuExecutor::tap_layer(int layer) {
  if (!model_->has_dspark()) return;
  const std::vector<int>& taps = model_->config().dspark_target_layers;
  if (std::find(taps.begin(), taps.end(), layer) == taps.end()) return;
  const auto before = std::count_if(taps.begin(), taps.end(), [&](int t) { return t < layer; });
  tap(pass_, static_cast<std::size_t>(before));
}

void CpuExecutor::feed_dspark(const Batch& batch, const float* taps) {
  start(batch, nullptr);
  feed(pass_, taps);
}

void CpuExecutor::begin_dspark(const Batch& batch) {
  start(batch, nullptr);
  pass_.block = true;
  embed_tokens();
  if (pass_.lagged) begin_pre(nullptr);
}

void CpuExecutor::streams(std::int64_t first, std::int64_t count, float* to, float* pre) {
  std::memcpy(to, workspace_.streams.data() + static_cast<std::size_t>(first) * width(),
              static_cast<std::size_t>(count) * width() * sizeof(float));
  if (pre == nullptr) return;
  V4I_CHECK(pass_.lagged);
  const std::int64_t n = model_->config().hc_mult;
  std::copy_n(workspace_.pre.data() + first * n, count * n, pre);
}

void CpuExecutor::head(bool draft, std::span<const LogitsRow> rows) {
  const model::Weights& weights = model_->weights();
  if (draft)
    logits(pass_, weights.mtp[0].head, weights.mtp[0].norm, rows);
  else
    logits(pass_, weights.hc_head, weights.norm, rows);
  head_count_ += static_cast<std::int64_t>(rows.size());
  pass_.mark(model::Part::kHead);
}

void CpuExecutor::encode_image(std::int64_t grid_height, std::int64_t grid_width,
                               const float* patches, float* out, const CancelFlag* cancel) {
  const model::VisionWeights& weights = model_->weights().vision;
  if (!weights.present())
    fail(Code::kUnsupported, "{}: the model has no image tower", model_->path());
  const ImageTower tower{
      *model_, model_->config().vision, weights, pass_.kernels, pass_.pool, budget_, pass_.native};
  cpu::encode_image(tower, {grid_height, grid_width}, patches, out, cancel);
}

void CpuExecutor::finish() {
  if (pass_.profile == nullptr) return;
  pass_.profile->end(
      {*model_, *all_, *pass_.batch, head_count_, pass_.pool.busy_ns(), pass_.pool.size()});
}

}  // namespace v4i::forward::cpu
