// RowReader: rows to pages to requests, and back; see row_reader.h.
#include "lib/engram/row_reader.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::engram {

namespace {

constexpr std::uint64_t kPage = 4096;
// Enough for what a token or two of the released model select, 96 reads each, and eight times more
// than are under way at a time, so that whoever pumps need not do it often.
constexpr std::size_t kFlights = 512;

std::uint64_t page_floor(std::uint64_t at) { return at / kPage * kPage; }
std::uint64_t page_ceil(std::uint64_t at) { return page_floor(at + kPage - 1); }

// Of one buffer: a part may begin at the end of a page.
std::size_t buffer_bytes(const RowForm& form) {
  return page_ceil(kPage - 1 + form.bytes(Part::kCodes));
}

std::size_t all_buffers(const RowForm& form) { return kFlights * buffer_bytes(form) + kPage; }

}  // namespace

std::size_t RowReader::request_bytes(std::size_t most_rows) {
  return kFlights * sizeof(Flight) + 4 * most_rows * sizeof(Wanted);
}

std::uint64_t RowReader::needs(const RowForm& form, std::size_t most_rows) {
  return request_bytes(most_rows) + all_buffers(form);
}

void RowReader::Queue::push(const Wanted& w) {
  if (items_.size() == items_.capacity()) {
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  V4I_CHECK(items_.size() < items_.capacity());
  items_.push_back(w);
}

RowReader::RowReader(const TableFiles& files, std::shared_ptr<store::ReadQueue> reads,
                     Budget& budget, std::size_t most_rows, Receiver& receiver)
    : files_(files),
      reads_(std::move(reads)),
      receiver_(receiver),
      buffer_bytes_(buffer_bytes(files.form())),
      counted_(budget, request_bytes(most_rows), Use::kWeights,
               "requests for rows of Engram tables"),
      memory_(budget, all_buffers(files.form()), Use::kWeights,
              "buffers for rows of Engram tables"),
      flights_(std::make_unique<Flight[]>(kFlights)),
      demand_(2 * most_rows),
      hints_(2 * most_rows) {
  free_.reserve(kFlights);
  under_way_.reserve(kFlights);
  const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
  std::byte* aligned = memory_.data() + (page_ceil(at) - at);
  for (std::size_t i = kFlights; i-- > 0;) {
    flights_[i].request.to = aligned + i * buffer_bytes_;
    free_.push_back(&flights_[i]);
  }
}

RowReader::~RowReader() {
  for (Flight* f : under_way_)
    if (!reads_->cancel(f->request))
      while (!reads_->wait(f->request, 1'000'000'000)) {
      }
}

void RowReader::want(std::size_t layer, std::span<const std::int32_t> rows, bool hint) {
  for (const Part part : {Part::kCodes, Part::kScales})
    for (const std::int32_t row : rows)
      (hint ? hints_ : demand_).push({row, static_cast<std::uint16_t>(layer), part});
}

void RowReader::hurry_hints() {
  for (Flight* f : under_way_)
    if (f->request.hint) reads_->promote(f->request);
  // Before what is wanted besides: they were known earlier, and what waits for one is a layer.
  while (!hints_.empty() && !free_.empty()) begin(hints_, false);
}

void RowReader::forget() { demand_.clear(); }

void RowReader::hand_out(Flight& f) {
  const store::ReadRequest& r = f.request;
  ++reads_done_;
  bytes_read_ += r.read;
  for (std::size_t i = 0; i < f.count; ++i) {
    const TableFiles::Range range = files_.range(f.layer, f.part, f.rows[i]);
    const std::uint64_t at = range.begin - r.offset;
    if (at + range.bytes <= r.read)
      receiver_.arrived(f.layer, f.rows[i], f.part, r.to + at);
    else
      receiver_.failed(f.layer, f.rows[i], f.part, r.error);
  }
}

// The first that waits, and those after it that lie in the pages which it needs.
void RowReader::load(Queue& from, Flight& f) {
  const Wanted first = from.front();
  const TableFiles::Range range = files_.range(first.layer, first.part, first.row);
  f.layer = first.layer;
  f.part = first.part;
  f.count = 0;
  f.request.fd = range.fd;
  f.request.offset = page_floor(range.begin);
  std::uint64_t end = page_ceil(range.begin + range.bytes);
  while (f.count < Flight::kMostRows && !from.empty()) {
    const Wanted& w = from.front();
    if (w.layer != first.layer || w.part != first.part || w.row < first.row) break;
    const TableFiles::Range r = files_.range(w.layer, w.part, w.row);
    const std::uint64_t w_end = page_ceil(r.begin + r.bytes);
    if (page_floor(r.begin) >= end || w_end - f.request.offset > buffer_bytes_) break;
    end = std::max(end, w_end);
    f.rows[f.count++] = w.row;
    from.pop();
  }
  f.request.bytes = static_cast<std::size_t>(end - f.request.offset);
}

// As many as fit one call of the queue.
void RowReader::begin(Queue& from, bool hint) {
  std::array<store::ReadRequest*, 64> some;
  std::size_t n = 0;
  while (n < some.size() && !from.empty() && !free_.empty()) {
    Flight* f = free_.back();
    free_.pop_back();
    load(from, *f);
    under_way_.push_back(f);
    some[n++] = &f->request;
  }
  if (from.empty()) from.clear();
  reads_->submit({some.data(), n}, hint);
}

void RowReader::pump() {
  if (!under_way_.empty()) reads_->progress(0);
  for (std::size_t i = 0; i < under_way_.size();) {
    Flight* f = under_way_[i];
    if (!f->request.done()) {
      ++i;
      continue;
    }
    under_way_[i] = under_way_.back();
    under_way_.pop_back();
    hand_out(*f);
    free_.push_back(f);
  }
  while (!demand_.empty() && !free_.empty()) begin(demand_, false);
  // Hints leave half of the buffers to what is wanted next.
  while (!hints_.empty() && free_.size() > kFlights / 2) begin(hints_, true);
}

}  // namespace v4i::engram
