// DiskSegments; see disk_segments.h.
#include "lib/store/disk_segments.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"

namespace v4i::store {

namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;  // of a segment
constexpr std::uint64_t kMostPages = std::uint64_t{1} << 20;    // that the index can name
constexpr std::size_t kMostOpen = 64;                           // files that are read

std::int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// A 64th of the folder: what leaves at a time.  64 MiB for 4 GiB.
std::uint64_t segment_bytes(std::uint64_t capacity) {
  if (capacity == 0) return kMostBytes;
  return std::clamp(capacity / 64 / kDiskPage * kDiskPage, kDiskPage, kMostBytes);
}

// Of a capacity, 0 for none, and the cap of a budget.
std::uint64_t least_of(std::uint64_t capacity, std::uint64_t cap) {
  if (cap == Budget::kNoCap) return capacity;
  return capacity == 0 ? cap : std::min(capacity, cap);
}

[[noreturn]] void refuse(const std::string& path, const char* what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  fail(full ? Code::kNoMemory : Code::kIo, "{}: cannot {} a segment: {}", path, what,
       std::generic_category().message(error));
}

}  // namespace

DiskSegments::DiskSegments(std::string folder, std::uint64_t capacity, Budget& budget,
                           DiskIndex& index, DiskFiles& files)
    : folder_(std::move(folder)),
      capacity_(capacity == 0 ? ~std::uint64_t{0} : capacity),
      segment_bytes_(segment_bytes(least_of(capacity, budget.cap(Place::kDisk)))),
      budget_(budget),
      index_(index),
      files_(files) {
  reload();
}

DiskSegments::~DiskSegments() {
  try {
    note_use();
    if (current_ != nullptr) finish_segment();
  } catch (...) {
    // Whoever opens the folder next does it.
  }
  budget_.give(Place::kDisk, Use::kKv, counted_);
}

std::string DiskSegments::path_of(std::int64_t segment) const {
  return segment_path(folder_, rows_.at(segment).name);
}

bool DiskSegments::writes(std::int64_t segment) const {
  return (current_ != nullptr && current_->number == segment) ||
         std::any_of(full_.begin(), full_.end(),
                     [&](const auto& w) { return w->number == segment; });
}

void DiskSegments::clean() {
  const std::vector<std::uint64_t> files = list_segments(folder_);
  reload();
  std::vector<std::int64_t> gone;
  for (const auto& [number, row] : rows_) {
    const std::string path = path_of(number);
    const bool there = std::binary_search(files.begin(), files.end(), row.name);
    if (files_.is_written(path)) continue;
    if (!there || row.blocks == 0) {
      gone.push_back(number);
      files_.remove(path);
    } else if (row.reserved != row.bytes) {
      index_.finish_segment(number, row.bytes);
    }
  }
  index_.drop_segments(gone);
  remove_unnamed(files);
}

// Files of processes that ended before they told the index.  A living one holds the lock of its
// file until the index has its name: so first the lock is looked at, then the index.
void DiskSegments::remove_unnamed(std::span<const std::uint64_t> files) {
  std::vector<std::uint64_t> dead, named;
  for (const std::uint64_t name : files)
    if (!files_.is_written(segment_path(folder_, name))) dead.push_back(name);
  reload();
  for (const auto& [number, row] : rows_) named.push_back(row.name);
  std::sort(named.begin(), named.end());
  for (const std::uint64_t name : dead)
    if (!std::binary_search(named.begin(), named.end(), name))
      files_.remove(segment_path(folder_, name));
}

bool DiskSegments::fits(std::uint64_t pages) const {
  return pages <= kMostPages && pages * kDiskPage <= std::min(capacity_, budget_.cap(Place::kDisk));
}

DiskSegments::Room DiskSegments::make_room(std::uint64_t pages) {
  const std::uint64_t bytes = pages * kDiskPage;
  if (current_ != nullptr &&
      current_->pages * kDiskPage + bytes > rows_.at(current_->number).reserved)
    finish_segment();
  if (current_ == nullptr) begin_segment(std::max(bytes, segment_bytes_));
  while (!budget_.try_take(Place::kDisk, Use::kKv, bytes))
    if (!evict())
      fail(Code::kNoMemory, "{}: {} bytes do not fit the budget of {} for disks", folder_, bytes,
           budget_.cap(Place::kDisk));
  budget_.give(Place::kDisk, Use::kKv, bytes);  // written() counts them
  return {current_->number, static_cast<std::uint32_t>(current_->pages), current_->file->get()};
}

// All processes together reserve no more than the capacity; the index decides in one transaction.
void DiskSegments::begin_segment(std::uint64_t bytes) {
  auto next = std::make_unique<Written>();
  std::uint64_t name = 0;
  int fd = -EBUSY;
  for (int tries = 0; tries < 10 && (fd == -EBUSY || fd == -EEXIST); ++tries)
    fd = files_.create(segment_path(folder_, name = random_name() >> 1));
  const std::string path = segment_path(folder_, name);
  if (fd < 0) refuse(path, "begin", -fd);
  next->file = std::make_unique<Descriptor>(fd);
  try {
    while ((next->number = index_.add_segment(name, bytes, capacity_, now_ms())) == 0)
      if (!evict())
        fail(Code::kNoMemory, "{}: the capacity of {} bytes is taken by segments being written",
             folder_, capacity_);
    reload();
  } catch (...) {
    next->file.reset();
    files_.remove(path);
    throw;
  }
  current_ = std::move(next);
}

// Its file stays open, so that nobody removes it, until the index has its blocks.
void DiskSegments::finish_segment() {
  const std::int64_t number = current_->number;
  if (current_->uncommitted > 0) full_.push_back(std::move(current_));
  current_.reset();
  SegmentRow& row = rows_.at(number);
  row.reserved = row.bytes;
  if (row.bytes == 0)
    drop(number);
  else
    index_.finish_segment(number, row.bytes);
}

void DiskSegments::written(std::uint64_t pages) {
  V4I_CHECK(current_ != nullptr);
  current_->pages += pages;
  current_->uncommitted += pages;
  rows_.at(current_->number).bytes = current_->pages * kDiskPage;
  bytes_ += pages * kDiskPage;
  count();
}

void DiskSegments::committed() {
  if (current_ != nullptr) current_->uncommitted = 0;
  full_.clear();
}

void DiskSegments::abandon() noexcept {
  full_.clear();
  current_.reset();
  try {
    reload();
  } catch (...) {
    // The next refresh() sees to it.
  }
}

bool DiskSegments::evict() {
  note_use();
  reload();
  for (const SegmentRow& row : index_.segments()) {
    if (!has(row.number)) continue;
    const std::string path = segment_path(folder_, row.name);
    if (writes(row.number) || files_.is_written(path)) continue;
    drop(row.number);
    ++evictions_;
    return true;
  }
  return false;
}

void DiskSegments::drop(std::int64_t segment) {
  const auto row = rows_.find(segment);
  if (row == rows_.end()) return;
  const std::string path = path_of(segment);
  if (writes(segment)) {
    if (current_ == nullptr || current_->number != segment || current_->uncommitted > 0) return;
    current_.reset();
  }
  if (files_.is_written(path)) return;
  index_.drop_segments({&segment, 1});
  files_.remove(path);
  forget(segment);
  count();
}

void DiskSegments::forget(std::int64_t segment) noexcept {
  bytes_ -= rows_.at(segment).bytes;
  rows_.erase(segment);
  open_.erase(segment);
  uses_.erase(segment);
}

std::shared_ptr<const ReadFile> DiskSegments::reader(std::int64_t segment) {
  if (!has(segment)) refresh();
  if (!has(segment)) return nullptr;
  uses_[segment] = now_ms();
  const auto it = open_.find(segment);
  if (it != open_.end()) {
    it->second.used = ++opened_;
    return it->second.file;
  }
  if (open_.size() >= kMostOpen)
    open_.erase(std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    }));
  const std::string path = path_of(segment);
  const int direct = open_to_read(path, true);
  if (direct == -ENOENT) return nullptr;
  if (direct < 0) refuse(path, "open", -direct);
  const int cached = open_to_read(path, false);
  auto file = std::make_shared<const ReadFile>(direct, cached);
  if (cached == -ENOENT) return nullptr;
  if (cached < 0) refuse(path, "open", -cached);
  open_[segment] = {file, ++opened_};
  return file;
}

int DiskSegments::open_to_read(const std::string& path, bool direct) {
  const int fd = files_.open_to_read(path, direct);
  if (fd != -EMFILE && fd != -ENFILE) return fd;
  open_.clear();
  return files_.open_to_read(path, direct);
}

void DiskSegments::refresh() {
  if (index_.changed()) reload();
}

void DiskSegments::reload() {
  std::map<std::int64_t, SegmentRow> rows;
  for (SegmentRow& row : index_.segments()) {
    if (writes(row.number)) row.bytes = std::max(row.bytes, rows_.at(row.number).bytes);
    rows.emplace(row.number, row);
  }
  for (const auto& [number, row] : rows_)
    if (writes(number)) rows.emplace(number, row);
  rows_ = std::move(rows);
  std::erase_if(open_, [&](const auto& o) { return !has(o.first); });
  std::erase_if(uses_, [&](const auto& u) { return !has(u.first); });
  bytes_ = 0;
  for (const auto& [number, row] : rows_) bytes_ += row.bytes;
  count();
}

// What others have written is not refused, so that it may be more than the cap.
void DiskSegments::count() noexcept {
  if (bytes_ > counted_ && budget_.try_take(Place::kDisk, Use::kKv, bytes_ - counted_))
    counted_ = bytes_;
  if (bytes_ < counted_) {
    budget_.give(Place::kDisk, Use::kKv, counted_ - bytes_);
    counted_ = bytes_;
  }
}

void DiskSegments::note_use() {
  std::vector<DiskIndex::Used> uses;
  for (const auto& [segment, when] : uses_) uses.push_back({segment, when});
  index_.note_use(uses);
  uses_.clear();
}

}  // namespace v4i::store
