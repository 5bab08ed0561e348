// A run: rows are selected, found, waited for and turned into numbers; see tables.h.
#include "lib/engram/tables.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "lib/base/error.h"

namespace v4i::engram {

namespace {

using Clock = std::chrono::steady_clock;

TableFiles::Access access_of(const Options& o) {
  if (o.resident) return TableFiles::Access::kMapped;
  return o.direct ? TableFiles::Access::kDirect : TableFiles::Access::kBuffered;
}

}  // namespace

Tables::Tables(std::shared_ptr<const model::Model> model, ClassMap classes,
               std::shared_ptr<store::ReadQueue> reads, Budget& budget, const Options& options)
    : Tables(source_of(std::move(model)), std::move(classes), std::move(reads), budget, options) {}

Tables::Tables(TableSource source, ClassMap classes, std::shared_ptr<store::ReadQueue> reads,
               Budget& budget, const Options& options)
    : classes_(std::move(classes)),
      hash_(source.config->engram, classes_.pad(), source.name),
      files_(std::move(source), access_of(options), options.open_shard),
      budget_(budget),
      reads_(std::move(reads)),
      max_tokens_(options.max_tokens),
      resident_(options.resident),
      synchronous_(options.synchronous),
      run_(budget, files_.form(), files_.layers(),
           static_cast<std::size_t>(max_tokens_ * hash_.columns()), resident_),
      slots_(budget, files_.form(), resident_ ? 0 : options.cache_bytes, options.slab_bytes) {
  if (resident_) return;
  const auto most = static_cast<std::size_t>(max_tokens_ * hash_.columns());
  reader_ = std::make_unique<RowReader>(files_, reads_, budget, most * files_.layers(),
                                        static_cast<RowReader::Receiver&>(*this));
  missing_.reserve(most);
  selected_.resize(static_cast<std::size_t>(hash_.columns()));
  budget_.add(this);
}

Tables::~Tables() {
  if (resident_) return;
  budget_.remove(this);
  {
    const Lock lock(mutex_);
    stop_ = true;
  }
  helper_called_.notify_all();
  if (helper_.joinable()) helper_.join();
}

std::uint64_t Tables::needs(const model::EngramConfig& config, const Options& options) {
  const RowForm form(config.head_dim);
  const std::size_t layers = config.layers.size();
  const auto most =
      static_cast<std::size_t>(options.max_tokens * (config.max_ngram - 1) * config.heads);
  const std::uint64_t run = RunRows::needs(form, layers, most, options.resident);
  return options.resident ? run : run + RowReader::needs(form, most * layers);
}

std::size_t Tables::tokens_of(std::span<const std::int32_t> windows) const {
  const auto wide = static_cast<std::size_t>(hash_.max_ngram());
  V4I_CHECK(windows.size() % wide == 0);
  return windows.size() / wide;
}

void Tables::begin(std::span<const std::int32_t> windows) {
  const Lock lock(mutex_);
  forget_run();
  const std::size_t tokens = tokens_of(windows);
  V4I_CHECK(tokens <= static_cast<std::size_t>(max_tokens_));
  for (std::size_t layer = 0; layer < files_.layers(); ++layer) select(layer, windows);
  run_.set_places(tokens * static_cast<std::size_t>(columns()));
  stats_.lookups += run_.places() * files_.layers();
  if (resident_) {
    stats_.hits += run_.places() * files_.layers();
    return;
  }
  for (std::size_t layer = 0; layer < files_.layers(); ++layer) find_rows(layer);
  if (!synchronous_) read();
}

// The rows of the tables, into the places of the run.
void Tables::select(std::size_t layer, std::span<const std::int32_t> windows) {
  static_assert(sizeof(std::int32_t) == sizeof(std::uint32_t));
  const auto wide = static_cast<std::size_t>(hash_.max_ngram());
  const auto columns = static_cast<std::size_t>(hash_.columns());
  for (std::size_t t = 0; t * wide < windows.size(); ++t)
    hash_.rows(layer, windows.data() + t * wide,
               reinterpret_cast<std::int32_t*>(&run_.place(layer, t * columns)));
}

// Each of them once: out of the cache, or to be read.
void Tables::find_rows(std::size_t layer) {
  missing_.clear();
  for (std::size_t i = 0; i < run_.places(); ++i) {
    const auto row = static_cast<std::int32_t>(run_.place(layer, i));
    bool is_new;
    const std::uint32_t n = run_.place(layer, i) = run_.add(layer, row, is_new);
    if (!is_new) continue;
    const RowSlots::Found cached = slots_.ask(key_of(layer, row));
    if (cached.row != nullptr) {
      std::memcpy(run_.bytes(n), cached.row, files_.form().bytes());
      run_[n].parts = static_cast<std::uint8_t>(cached.parts);
    } else {
      missing_.push_back(row);
    }
    const bool whole = run_[n].parts == RowSlots::kWhole;
    run_.left[layer] += !whole;
    hurry_ = hurry_ || (cached.row != nullptr && !whole);
  }
  stats_.hits += run_.places() - missing_.size();
  std::sort(missing_.begin(), missing_.end());
  reader_->want(layer, missing_, false);
}

void Tables::wait(std::size_t layer, const CancelFlag* cancel) {
  V4I_CHECK(layer < files_.layers());
  throw_if_cancelled(cancel);
  Lock lock(mutex_);
  if (run_.left[layer] > 0) {
    ++stats_.waits;
    const auto begin = Clock::now();
    wait_for(layer, cancel, lock);
    stats_.wait_ns += static_cast<std::uint64_t>((Clock::now() - begin).count());
  }
  check(layer);
}

// The first token's first row that is not there, or no numbers.
void Tables::check(std::size_t layer) const {
  const RowForm& form = files_.form();
  for (std::size_t i = 0; i < run_.places(); ++i) {
    const std::uint32_t n = run_.place(layer, i);
    const auto row = resident_ ? static_cast<std::int32_t>(n) : run_[n].row;
    if (!resident_ && !run_[n].failed) continue;
    if (!resident_ && run_[n].parts != RowSlots::kWhole)
      files_.fail_read(layer, run_[n].failed_part, row, run_[n].error);
    const std::byte* codes = resident_ ? files_.mapped(layer, Part::kCodes, row) : run_.bytes(n);
    const std::byte* scales =
        resident_ ? files_.mapped(layer, Part::kScales, row) : codes + form.begin(Part::kScales);
    const RowForm::Defect defect = form.defect(codes, scales);
    if (defect.found) files_.fail_defect(layer, row, defect);
  }
}

void Tables::rows(std::size_t layer, std::int64_t first, std::int64_t count, float* out) const {
  const RowForm& form = files_.form();
  const auto begin = static_cast<std::size_t>(first * columns());
  const auto end = begin + static_cast<std::size_t>(count * columns());
  V4I_CHECK(layer < files_.layers() && end <= run_.places());
  for (std::size_t i = begin; i < end; ++i, out += form.columns()) {
    const std::uint32_t n = run_.place(layer, i);
    if (resident_) {
      const auto row = static_cast<std::int32_t>(n);
      form.dequantise(files_.mapped(layer, Part::kCodes, row),
                      files_.mapped(layer, Part::kScales, row), out);
    } else {
      form.dequantise(run_.bytes(n), run_.bytes(n) + form.begin(Part::kScales), out);
    }
  }
}

void Tables::abandon() noexcept {
  const Lock lock(mutex_);
  forget_run();
}

void Tables::forget_run() noexcept {
  if (!resident_) reader_->forget();
  hurry_ = false;
  run_.clear();
}

Stats Tables::stats() const {
  const Lock lock(mutex_);
  Stats out = stats_;
  out.cache_bytes = slots_.bytes();
  if (resident_) return out;
  out.reads = reader_->reads();
  out.bytes_read = reader_->bytes_read();
  return out;
}

std::uint64_t Tables::give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept {
  if (place != Place::kHost) return 0;
  const Lock lock(mutex_);
  return slots_.give_back(bytes, keep);
}

}  // namespace v4i::engram
