// Opens a model folder and keeps note of what was scanned; see model.h.
#include "lib/model/model.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/thread.h"
#include "lib/base/thread_pool.h"
#include "lib/model/digest.h"

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

// A function that runs beside its creator, or in get() where the system gives no thread.
class Beside {
 public:
  explicit Beside(std::function<Digest()> body) : body_(std::move(body)) {
    try {
      thread_ = start_thread({"v4infer-open", 0, {}, {}}, [this] { call(); });
    } catch (const Error&) {
    }
  }
  ~Beside() {
    if (thread_.joinable()) thread_.join();
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  Digest get() {
    if (thread_.joinable())
      thread_.join();
    else
      call();
    if (error_ != nullptr) std::rethrow_exception(error_);
    return result_;
  }

 private:
  void call() noexcept try { result_ = body_(); } catch (...) {
    error_ = std::current_exception();
  }

  std::function<Digest()> body_;
  Digest result_{};
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace

std::shared_ptr<const Model> Model::open(const std::string& path) {
  std::shared_ptr<Model> m(new Model);
  m->path_ = path;
  const std::string config_path = join_path(loader::model_folder(path), "config.json");
  if (!file_exists(config_path)) loader::Checkpoint::open(path);  // says so when nothing is there
  m->config_ = parse_config(read_text_file(config_path, kMaxConfigBytes), config_path);
  m->plan_ = make_plan(m->config_);
  m->checkpoint_ = loader::Checkpoint::open(path);
  m->checkpoint_->expect_random_access(true);
  prefetch_small_parts(*m->checkpoint_);
  Beside digest([&m] { return digest_of(*m->checkpoint_, m->config_); });
  m->weights_ = bind_weights(*m->checkpoint_, m->config_, m->plan_);
  m->digest_ = digest.get();
  m->checkpoint_->expect_random_access(false);
  m->parameters_ = count_parameters(*m->checkpoint_);
  m->checked_ = CheckedRows(m->checkpoint_->tensors());
  return m;
}

std::uint64_t Model::tensor_bytes() const { return checkpoint_->tensor_bytes(); }

void Model::check_rows(const Weight& w, std::int64_t begin, std::int64_t end) const {
  constexpr std::int64_t kGroup = CheckedRows::kGroup;
  ScanList list(checked_);  // whole groups, so that pieces of any size add up
  list.add_rows(w, begin / kGroup * kGroup, std::min((end + kGroup - 1) / kGroup * kGroup, w.rows));
  list.scan(*checkpoint_, nullptr);
}

void Model::trust_rows(const Weight& w, std::int64_t begin, std::int64_t end) const {
  constexpr std::int64_t kGroup = CheckedRows::kGroup;
  checked_.mark(w.tensor, begin, end, w.rows);
  if (begin % kGroup != 0) check_rows(w, begin, begin + 1);
  if (end % kGroup != 0 && end != w.rows) check_rows(w, end - 1, end);
}

void Model::touch_block_experts(const Block& block, const std::int32_t* experts, int count,
                                ThreadPool& pool) const {
  for (int i = 0; i <= count;) {
    ScanList list(checked_);
    for (; i <= count && list.room_for(ScanList::kExpertRegions); ++i)
      list.add(i < count ? block.ffn.experts[static_cast<std::size_t>(experts[i])]
                         : block.ffn.shared);
    list.scan(*checkpoint_, &pool);
  }
}

void Model::touch_experts(int layer, const std::int32_t* experts, int count,
                          ThreadPool& pool) const {
  V4I_CHECK(layer >= 0 && layer < config_.layers);
  touch_block_experts(weights_.layers[static_cast<std::size_t>(layer)], experts, count, pool);
}

void Model::touch_mtp_experts(const std::int32_t* experts, int count, ThreadPool& pool) const {
  V4I_CHECK(!weights_.mtp.empty());
  touch_block_experts(weights_.mtp.front().block, experts, count, pool);
}

void Model::touch_layer(int layer, ThreadPool& pool) const {
  V4I_CHECK(layer >= 0 && layer < config_.layers);
  ScanList list(checked_);
  list.add(weights_.layers[static_cast<std::size_t>(layer)]);
  list.scan(*checkpoint_, &pool);
}

void Model::touch_head(ThreadPool& pool) const {
  ScanList list(checked_);
  list.add(weights_.head);
  list.add(weights_.hc_head);
  list.scan(*checkpoint_, &pool);
}

void Model::touch_mtp(ThreadPool& pool) const {
  V4I_CHECK(!weights_.mtp.empty());
  const Mtp& mtp = weights_.mtp.front();
  ScanList list(checked_);
  list.add(mtp.block);
  list.add(mtp.e_proj);
  list.add(mtp.h_proj);
  list.add(mtp.head);
  list.scan(*checkpoint_, &pool);
}

void Model::touch_dspark(ThreadPool& pool) const {
  const Dspark& d = weights_.dspark;
  for (const Block& b : d.stages) {
    ScanList list(checked_);
    list.add(b);
    list.scan(*checkpoint_, &pool);
    std::vector<std::int32_t> experts(b.ffn.experts.size());
    std::iota(experts.begin(), experts.end(), 0);
    touch_block_experts(b, experts.data(), static_cast<int>(experts.size()), pool);
  }
  ScanList list(checked_);
  for (const Weight* w : {&d.main_proj, &d.markov_w1, &d.markov_w2, &d.confidence}) list.add(*w);
  list.add(d.head);
  list.scan(*checkpoint_, &pool);
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
  if (has_dspark()) touch_dspark(pool);
  if (weights_.mtp.empty()) return;
  touch_mtp(pool);
  touch_mtp_experts(experts.data(), count, pool);
}

void Model::touch_embedding(const std::int32_t* tokens, int count) const {
  for (int i = 0; i < count; ++i) {
    V4I_CHECK(tokens[i] >= 0 && tokens[i] < config_.vocab);
    ScanList list(checked_);
    list.add_rows(weights_.embed, tokens[i], tokens[i] + 1);
    list.scan(*checkpoint_, nullptr);
  }
}

}  // namespace v4i::model
