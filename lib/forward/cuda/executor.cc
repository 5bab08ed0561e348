// The order of the parts within a layer, and what comes before and after the layers.
#include "lib/forward/cuda/executor.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cuda/norm.h"
#include "lib/base/error.h"
#include "lib/forward/layouts.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

namespace {

// The blocks of a sequence may have to make room for those of another.
bool has_store(const Batch& batch) {
  return std::any_of(batch.items().begin(), batch.items().end(),
                     [](const Item& i) { return i.state->cache().has_store(); });
}

}  // namespace

CudaExecutor::CudaExecutor(const Machine& m, std::shared_ptr<const model::Model> model,
                           std::shared_ptr<experts::Experts> experts, const Options& o,
                           std::int32_t experts_here)
    : model_(std::move(model)),
      experts_(std::move(experts)),
      memory_(m.memory),
      identity_(name_of(m, experts_here)),
      layout_(make_layout(model_->config(), model_->plan(), o)),
      draft_layout_(make_draft_layout(model_->config(), model_->plan(), o)),
      stream_(m.device),
      upload_(m.device, stream_, m.budget),
      weights_(*model_, upload_, m.pool),
      device_experts_(*model_, *experts_, experts_here, m.device, upload_, m.budget, m.pool),
      host_experts_(experts_here == model_->config().experts
                        ? nullptr
                        : std::make_unique<HostExperts>(*model_, *experts_, m.kernels, m.pool,
                                                        m.budget, o, experts_here)),
      workspace_(model_->config(), layout_, o.max_tokens, host_experts_ != nullptr, m.device,
                 m.budget),
      data_(m.device, m.budget, model_->config(), o.max_tokens, Workspace::kHeadTokens),
      pass_{*model_,
            model_->config(),
            stream_,
            workspace_,
            weights_,
            device_experts_,
            host_experts_.get(),
            exchange_,
            data_,
            o.numerics != Numerics::kExact,
            m.device->info().processors} {
  const auto pinned = [&](std::int64_t floats, const char* what) {
    return PinnedBuffer(m.device, m.budget, Use::kScratch,
                        static_cast<std::size_t>(floats) * sizeof(float), what);
  };
  const model::Config& c = model_->config();
  logits_ = pinned(Workspace::kHeadTokens * c.vocab, "logits from the device");
  if (host_experts_ != nullptr) {
    constexpr const char* kWhat = "the exchange with the CPU's experts";
    exchange_.x = pinned(o.max_tokens * c.width, kWhat);
    exchange_.more = pinned(o.max_tokens * c.width, kWhat);
    exchange_.expert = pinned(o.max_tokens * c.experts_active, kWhat);
    exchange_.weight = pinned(o.max_tokens * c.experts_active, kWhat);
    exchange_.ready = Event(m.device);
  }
  upload_.finish();
  leases_.reserve(static_cast<std::size_t>(c.layers));
  pending_.reserve(static_cast<std::size_t>(Workspace::kHeadTokens));
}

CudaExecutor::~CudaExecutor() { abandon(); }

std::string CudaExecutor::name_of(const Machine& m, std::int32_t experts_here) const {
  const std::string device = fmt::format("cuda-{}", m.device->info().target);
  if (experts_here == model_->config().experts) return device;
  return fmt::format("{}-{}-{}", device, experts_here, m.kernels.name);
}

std::size_t CudaExecutor::streams_width() const {
  return static_cast<std::size_t>(model_->config().hc_mult * model_->config().width);
}

void CudaExecutor::start(const Batch& batch, Profile* profile) {
  all_ = pass_.batch = &batch;
  pass_.profile = profile;
  pass_.layout = &batch.items()[0].state->layout();
  pass_.t = &workspace_.a;
  pass_.result = {};
  pass_.replay = false;
  mode_ = Mode::kDirect;
  head_count_ = 0;
  pending_.clear();
  if (profile != nullptr) profile->begin(0);
  try {
    if (data_.begin(batch, *pass_.layout)) graphs_.clear();  // they have the old addresses
  } catch (...) {
    graphs_.clear();
    throw;
  }
  pass_.tokens = data_.tokens();
}

void CudaExecutor::choose_mode(const Batch& batch) {
  key_ = {data_.shape(), 0};
  bool fits = batch.n() <= kGraphTokens && host_experts_ == nullptr && pass_.profile == nullptr &&
              !has_store(batch);
  for (const Item& item : batch.items()) {
    key_.head_rows += logits_tokens(item);
    fits = fits && item.hidden == nullptr &&
           output_tokens(item, false) == static_cast<std::int64_t>(item.tokens.size());
  }
  if (!fits || key_.head_rows > Workspace::kHeadTokens) return;
  const auto found = graphs_.find(key_);
  if (found == graphs_.end()) {
    if (graphs_.size() == kMostGraphs) graphs_.clear();
    graphs_.emplace(key_, Graph());
    return;
  }
  mode_ = found->second ? Mode::kReplay : Mode::kCapture;
  pass_.replay = mode_ == Mode::kReplay;
  if (mode_ == Mode::kCapture) capture_.emplace(stream_);
}

// The embedding of each token to where the device takes them from.
void CudaExecutor::gather_embeddings(const Batch& batch) {
  for (std::int64_t t = 0; t < batch.n(); ++t) {
    const Token& token = batch.tokens()[static_cast<std::size_t>(t)];
    if (token.embedding == nullptr) model_->touch_embedding(&token.id, 1);
    cpu::embed(*model_, token, data_.embedding(t));
  }
}

// Tokens and sequences; of a graph also the tables of all layers.
void CudaExecutor::send() {
  memory_->follow_copies(stream_);
  if (mode_ == Mode::kDirect)
    data_.send_tokens(stream_);
  else
    data_.send_all(stream_);
}

void CudaExecutor::send_embeddings() { data_.send_embeddings(stream_, workspace_.out.data()); }

void CudaExecutor::begin(const Batch& batch, Streams given, Profile* profile) {
  start(batch, profile);
  if (given.x == nullptr) {
    gather_embeddings(batch);
    choose_mode(batch);
  }
  if (mode_ == Mode::kDirect) send();
  fill_rope(pass_);
  if (given.x != nullptr) {
    stream_.upload(workspace_.a.streams.data(), given.x,
                   static_cast<std::size_t>(batch.n()) * streams_width() * sizeof(float));
  } else {
    if (mode_ == Mode::kDirect) send_embeddings();
    kc::EmbedArgs a;
    a.rows = workspace_.out.data();
    a.streams = workspace_.a.streams.data();
    a.n = pass_.n();
    a.count = static_cast<std::int32_t>(model_->config().hc_mult);
    a.width = static_cast<std::int32_t>(model_->config().width);
    pass_.launch(kc::launch_embed(a), a);
  }
  pass_.mark(model::Part::kEmbedding);
}

// x_s = e_proj(norm(embedding)) + h_proj(norm(stream s)), one SWA block, own head.
void CudaExecutor::begin_draft(const Batch& batch, const float* hidden) {
  start(batch, nullptr);
  gather_embeddings(batch);
  send();
  send_embeddings();
  fill_rope(pass_);
  const DraftWeights& draft = weights_.draft();
  const model::Config& c = model_->config();
  Workspace& w = workspace_;
  const std::int32_t n = pass_.n(), all = n * static_cast<std::int32_t>(c.hc_mult);
  norm(pass_, w.out.data(), c.width, draft.enorm, w.a.x.data(), w.a.xq.data());
  const kc::Product embedded =
      product(draft.e_proj, quantised(pass_, w.a.x.data(), w.a.xq.data()), w.out.data());
  multiply(pass_, {&embedded, 1});
  stream_.upload(w.b.streams.data(), hidden,
                 static_cast<std::size_t>(n) * streams_width() * sizeof(float));
  kc::NormArgs a;  // all streams of all tokens
  a.x = a.y = w.b.streams.data();
  a.x_stride = a.y_stride = c.width;
  a.gain = draft.hnorm;
  a.n = all;
  a.cols = static_cast<std::int32_t>(c.width);
  a.eps = c.norm_eps;
  a.native = pass_.native;
  pass_.launch(kc::launch_norm(a), a);
  if (pass_.native) {
    kc::QuantiseRowsArgs q;
    q.x = q.y = w.b.streams.data();
    q.n = all;
    q.cols = a.cols;
    q.block = pass_.fp8_block();
    pass_.launch(kc::launch_quantise(q), q);
  }
  const kc::Product streams = product(draft.h_proj, w.b.streams.data(), w.a.streams.data());
  multiply(pass_, {&streams, 1}, all);
  kc::AddStreamsArgs add;
  add.rows = w.out.data();
  add.streams = w.a.streams.data();
  add.n = n;
  add.count = static_cast<std::int32_t>(c.hc_mult);
  add.width = a.cols;
  add.native = pass_.native;
  pass_.launch(kc::launch_add_streams(add), add);
}

void CudaExecutor::refuse_dspark() const {
  fail(Code::kUnsupported, "{}: DSpark drafts are not there on CUDA; backend \"cpu\" has them",
       model_->path());
}

void CudaExecutor::layer(Layer which, const Batch& in, const Batch& out, kv::Lease lease) {
  const auto own = static_cast<int>(model_->config().layers);
  const int index = which.draft ? own + which.index : which.index;
  const model::LayerPlan& plan =
      which.draft ? model_->plan().draft : model_->plan().layers[static_cast<std::size_t>(index)];
  const BlockWeights& b = which.draft ? weights_.draft().block : weights_.layer(index);
  const LayerOf layer{b, model_->block(index), plan, which.index, index};
  leases_.push_back(std::move(lease));
  data_.set_blocks(in, which.index);
  if (mode_ == Mode::kDirect) data_.send_blocks(stream_, which.index);
  hyper_pre(pass_, b.hc_attn, b.attn_norm);
  const bool same = in.n() == out.n();
  attention(pass_, layer, same ? in : out);
  if (pass_.n() > 0) {
    hyper_pre(pass_, b.hc_ffn, b.ffn_norm);
    moe(pass_, layer);
  }
  if (has_store(in)) {
    stream_.wait();
    leases_.clear();
  }
}

void CudaExecutor::streams(std::int64_t first, std::int64_t count, float* to, float*) {
  if (count == 0) return;
  hyper_post(pass_);
  stream_.download(to, pass_.t->streams.data() + static_cast<std::size_t>(first) * streams_width(),
                   static_cast<std::size_t>(count) * streams_width() * sizeof(float));
}

void CudaExecutor::head(bool draft, std::span<const LogitsRow> rows) {
  const auto n = static_cast<std::int32_t>(rows.size());
  V4I_CHECK(n > 0 && rows.size() <= static_cast<std::size_t>(Workspace::kHeadTokens));
  hyper_post(pass_);
  data_.set_head(0, rows);
  if (mode_ == Mode::kDirect) data_.send_head(stream_);
  hyper_head(pass_, draft ? weights_.draft().head : weights_.head_norm(), data_.head_rows(), n);
  const kc::Product logits =
      product(weights_.head(), workspace_.head_x.data(), workspace_.logits.data(), false);
  multiply(pass_, {&logits, 1}, n);
  pending_.assign(rows.begin(), rows.end());
  head_count_ += n;
  if (mode_ == Mode::kDirect) deliver_logits();
  pass_.mark(model::Part::kHead);
}

// Waits for the logits that were computed last.
void CudaExecutor::deliver_logits() {
  const auto vocab = static_cast<std::size_t>(model_->config().vocab);
  if (!pending_.empty())
    stream_.download(logits_.host(), workspace_.logits.data(),
                     pending_.size() * vocab * sizeof(float));
  stream_.wait();
  for (std::size_t i = 0; i < pending_.size(); ++i)
    std::memcpy(pending_[i].logits, logits_.as<float>() + i * vocab, vocab * sizeof(float));
  pending_.clear();
}

void CudaExecutor::finish() {
  if (mode_ == Mode::kCapture) {
    graphs_[key_] = capture_->end();
    capture_.reset();
  }
  if (mode_ != Mode::kDirect) {
    send();
    send_embeddings();
    stream_.launch(graphs_.at(key_));
  }
  deliver_logits();
  leases_.clear();
  if (pass_.profile != nullptr)
    // Idle time is that of the CPU's threads: none is counted here.
    pass_.profile->end(
        {*model_, *all_, *pass_.batch, head_count_, std::numeric_limits<std::uint64_t>::max(), 1});
}

void CudaExecutor::abandon() noexcept {
  try {
    capture_.reset();
    stream_.wait();
  } catch (const std::exception&) {  // lost: nothing is under way on it
  }
  leases_.clear();
  pending_.clear();
  mode_ = Mode::kDirect;
  pass_.replay = false;
}

}  // namespace v4i::forward::cuda
