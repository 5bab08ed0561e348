// Opens a model folder and keeps note of what was scanned; see model.h.
#include "lib/model/model.h"

#include <numeric>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/thread_pool.h"
#include "lib/model/digest.h"
#include "lib/model/scan.h"

namespace v4i::model {

namespace {

constexpr std::size_t kMaxConfigBytes = 1u << 20;

// Scales and token tables are not parameters; an I8 byte holds two fp4 weights.
std::uint64_t count_parameters(const loader::Checkpoint& checkpoint) {
  std::uint64_t n = 0;
  for (const loader::TensorInfo& t : checkpoint.tensors()) {
    if (t.dtype == DType::kF8E8M0 || t.dtype == DType::kI64 || t.dtype == DType::kI32) continue;
    const std::uint64_t elements = (t.end - t.begin) / dtype_bytes(t.dtype);
    n += t.dtype == DType::kI8 ? 2 * elements : elements;
  }
  return n;
}

// Opening reads a little of about two thousand tensors.  Asked for here all at once,
// and without the kernel's read-ahead, which may be 8 MB for each of them (measured:
// 9 s instead of 0.6 s over sparse files on a machine set that way).
void prefetch_small_parts(const loader::Checkpoint& checkpoint) {
  for (const loader::TensorInfo& t : checkpoint.tensors()) {
    const bool table = t.dtype == DType::kI64 || t.dtype == DType::kI32;  // tid2eid, read whole
    checkpoint.prefetch(t, table ? t.end - t.begin : digest_sample_bytes(t));
  }
}

}  // namespace

std::shared_ptr<const Model> Model::open(const std::string& path) {
  std::shared_ptr<Model> m(new Model);
  m->path_ = path;
  m->checkpoint_ = loader::Checkpoint::open(path);
  const std::string config_path = join_path(m->checkpoint_->folder(), "config.json");
  m->config_ = parse_config(read_text_file(config_path, kMaxConfigBytes), config_path);
  m->plan_ = make_plan(m->config_);
  m->checkpoint_->expect_random_access(true);
  prefetch_small_parts(*m->checkpoint_);
  m->weights_ = bind_weights(*m->checkpoint_, m->config_, m->plan_);
  m->digest_ = digest_of(*m->checkpoint_, m->config_);
  m->checkpoint_->expect_random_access(false);
  m->parameters_ = count_parameters(*m->checkpoint_);
  m->touched_ = std::vector<std::atomic<std::uint8_t>>(
      static_cast<std::size_t>((m->config_.layers + 2) * (1 + m->config_.experts)));
  return m;
}

std::uint64_t Model::tensor_bytes() const { return checkpoint_->tensor_bytes(); }

// The slot of expert `expert` in row `row`; expert -1 is the dense part.
std::atomic<std::uint8_t>& Model::slot(std::int64_t row, std::int64_t expert) const {
  const std::int64_t i = row * (1 + config_.experts) + 1 + expert;
  V4I_CHECK(expert >= -1 && expert < config_.experts && row >= 0);
  V4I_CHECK(i < static_cast<std::int64_t>(touched_.size()));
  return touched_[static_cast<std::size_t>(i)];
}

template <class Fill>
void Model::touch(std::int64_t row, std::int64_t expert, ThreadPool& pool, const Fill& fill) const {
  std::atomic<std::uint8_t>& done = slot(row, expert);
  if (done.load(std::memory_order_acquire) != 0) return;
  ScanList list;
  fill(list);
  list.scan(*checkpoint_, &pool);
  done.store(1, std::memory_order_release);
}

void Model::touch_block_experts(std::int64_t row, const Block& block, const std::int32_t* experts,
                                int count, ThreadPool& pool) const {
  for (int i = 0; i < count; ++i) {
    const std::int32_t e = experts[i];
    touch(row, e, pool,
          [&](ScanList& list) { list.add(block.ffn.experts[static_cast<std::size_t>(e)]); });
  }
}

void Model::touch_layer(int layer, ThreadPool& pool) const {
  V4I_CHECK(layer >= 0 && layer < config_.layers);
  touch(layer, -1, pool,
        [&](ScanList& list) { list.add(weights_.layers[static_cast<std::size_t>(layer)]); });
}

void Model::touch_experts(int layer, const std::int32_t* experts, int count,
                          ThreadPool& pool) const {
  V4I_CHECK(layer >= 0 && layer < config_.layers);
  touch_block_experts(layer, weights_.layers[static_cast<std::size_t>(layer)], experts, count,
                      pool);
}

void Model::touch_head(ThreadPool& pool) const {
  touch(config_.layers + 1, -1, pool, [&](ScanList& list) {
    list.add(weights_.head);
    list.add(weights_.hc_head);
  });
}

void Model::touch_mtp(ThreadPool& pool) const {
  V4I_CHECK(!weights_.mtp.empty());
  const Mtp& mtp = weights_.mtp.front();
  touch(config_.layers, -1, pool, [&](ScanList& list) {
    list.add(mtp.block);
    list.add(mtp.e_proj);
    list.add(mtp.h_proj);
    list.add(mtp.head);
  });
}

void Model::touch_mtp_experts(const std::int32_t* experts, int count, ThreadPool& pool) const {
  V4I_CHECK(!weights_.mtp.empty());
  touch_block_experts(config_.layers, weights_.mtp.front().block, experts, count, pool);
}

void Model::touch_all(ThreadPool& pool, const std::function<void(int)>& before_layer) const {
  std::vector<std::int32_t> experts(static_cast<std::size_t>(config_.experts));
  std::iota(experts.begin(), experts.end(), 0);
  const auto count = static_cast<int>(experts.size());
  const auto layers = static_cast<int>(config_.layers);
  for (int layer = 0; layer < layers; ++layer) {
    if (before_layer) before_layer(layer);
    touch_layer(layer, pool);
    touch_experts(layer, experts.data(), count, pool);
  }
  if (before_layer) before_layer(layers);
  touch_head(pool);
  for (std::int32_t t = 0; t < config_.vocab; ++t) touch_embedding(&t, 1);
  if (weights_.mtp.empty()) return;
  touch_mtp(pool);
  touch_mtp_experts(experts.data(), count, pool);
}

void Model::touch_embedding(const std::int32_t* tokens, int count) const {
  for (int i = 0; i < count; ++i) {
    V4I_CHECK(tokens[i] >= 0 && tokens[i] < config_.vocab);
    ScanList list;
    list.add_row(weights_.embed, tokens[i]);
    list.scan(*checkpoint_, nullptr);
  }
}

}  // namespace v4i::model
