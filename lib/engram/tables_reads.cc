// What is read, when, and where it goes; see tables.h.
#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/thread.h"
#include "lib/engram/tables.h"

namespace v4i::engram {

namespace {

constexpr std::uint64_t kLook = 20'000'000;  // ns between looks at a cancel flag

}  // namespace

void Tables::read() {
  if (hurry_) reader_->hurry_hints();
  hurry_ = false;
  reader_->pump();
  if (reader_->waiting() > 0 || reader_->under_way() > kAlone) call_helper();
}

void Tables::expect(std::span<const std::int32_t> windows) noexcept try {
  if (resident_) return;
  const Lock lock(mutex_);
  for (std::size_t layer = 0; layer < files_.layers(); ++layer) expect_layer(layer, windows);
  if (!synchronous_) read();
} catch (...) {  // a hint that is not taken costs time only
}

void Tables::expect_layer(std::size_t layer, std::span<const std::int32_t> windows) {
  const std::size_t tokens = tokens_of(windows), most = reader_->room_for_hints();
  missing_.clear();
  bool room = true;
  for (std::size_t t = 0; room && t < tokens; ++t) {
    hash_.rows(layer, windows.data() + t * static_cast<std::size_t>(hash_.max_ngram()),
               selected_.data());
    for (const std::int32_t row : selected_) {
      const std::uint64_t key = key_of(layer, row);
      if (slots_.has(key) || run_.find(layer, row) != KeyIndex::kNone) continue;
      room = missing_.size() < std::min(most, missing_.capacity()) && slots_.expect(key);
      if (!room) break;
      missing_.push_back(row);
    }
  }
  std::sort(missing_.begin(), missing_.end());
  reader_->want(layer, missing_, true);
}

void Tables::arrived(std::size_t layer, std::int32_t row, Part part, const std::byte* bytes) {
  const RowForm& form = files_.form();
  const std::uint64_t key = key_of(layer, row);
  const RowSlots::Found slot = slots_.arrived(key, part, bytes);
  if (slot.parts == RowSlots::kWhole &&
      form.defect(slot.row, slot.row + form.begin(Part::kScales)).found)
    slots_.drop(key);
  const std::uint32_t n = run_.find(layer, row);
  if (n == KeyIndex::kNone) return;
  RunRows::Row& r = run_[n];
  const unsigned bit = 1u << static_cast<unsigned>(part);
  if (r.failed || (r.parts & bit) != 0) return;
  std::byte* to = run_.bytes(n);
  std::memcpy(to + form.begin(part), bytes, form.bytes(part));
  r.parts = static_cast<std::uint8_t>(r.parts | bit);
  if (r.parts != RowSlots::kWhole) return;
  --run_.left[layer];
  r.failed = form.defect(to, to + form.begin(Part::kScales)).found;
  if (!r.failed) slots_.keep(key, to);
}

void Tables::failed(std::size_t layer, std::int32_t row, Part part, int error) {
  slots_.drop(key_of(layer, row));
  const std::uint32_t n = run_.find(layer, row);
  if (n == KeyIndex::kNone) return;
  RunRows::Row& r = run_[n];
  if (r.failed || r.parts == RowSlots::kWhole) return;
  r.failed = true;
  r.failed_part = part;
  r.error = error;
  --run_.left[layer];
}

void Tables::wait_for(std::size_t layer, const CancelFlag* cancel, Lock& lock) {
  for (;;) {
    const std::uint64_t finished = reads_->finished();
    reader_->pump();
    if (run_.left[layer] == 0) return;
    V4I_CHECK(!reader_->idle());
    lock.unlock();
    throw_if_cancelled(cancel);
    reads_->progress(kLook, finished);
    lock.lock();
  }
}

void Tables::call_helper() noexcept try {
  if (helping_) return;
  if (!helper_.joinable())
    helper_ = start_thread({"v4infer-tables", 0, {}, {}}, [this] { help(); });
  helping_ = true;
  helper_called_.notify_one();
} catch (...) {  // without it reads go on in wait()
}

void Tables::help() {
  Lock lock(mutex_);
  while (!stop_) {
    if (!helping_) {
      helper_called_.wait(lock);
      continue;
    }
    const std::uint64_t finished = reads_->finished();
    reader_->pump();
    if (reader_->idle()) {
      helping_ = false;
      continue;
    }
    lock.unlock();
    reads_->progress(kLook, finished);
    lock.lock();
  }
}

}  // namespace v4i::engram
