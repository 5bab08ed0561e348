// DiskPuts; see disk_puts.h.
#include "lib/store/disk_puts.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/store/disk_gets.h"

namespace v4i::store {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 16;  // puts of one commit, for who polls without waiting
constexpr auto kBatchAge = std::chrono::milliseconds(10);

std::int64_t now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

void DiskPuts::write(const BlockKey& key, std::span<const std::byte> bytes, std::uint64_t ticket) {
  const std::uint64_t pages = pages_of(bytes.size());
  const DiskSegments::Room room = folder_.segments().make_room(pages);
  const int error = folder_.files().write(room.fd, bytes, room.page * kDiskPage);
  if (error != 0) {
    const bool full = error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
    fail(full ? Code::kNoMemory : Code::kIo, "{}: writing a block of {} bytes failed: {}",
         folder_.options().folder, bytes.size(), std::generic_category().message(-error));
  }
  NewBlock block{key, {room.segment, room.page, static_cast<std::uint32_t>(bytes.size()), {}}};
  for (std::size_t page = 0; page < pages; ++page) {
    const std::size_t at = page * kDiskPage;
    const std::size_t own = std::min<std::size_t>(kDiskPage, bytes.size() - at);
    block.place.sums.push_back(page_sum(key, block.place, page, bytes.subspan(at, own)));
  }
  if (blocks_.empty()) since_ = Clock::now();
  blocks_.push_back(std::move(block));
  tickets_.push_back(ticket);
  folder_.segments().written(pages);
}

void DiskPuts::commit(bool now, const std::function<Code(const Error&)>& failed,
                      const std::function<void(const Completion&)>& report) {
  if (blocks_.empty()) return;
  if (!now && blocks_.size() < kBatch && Clock::now() - since_ < kBatchAge) return;
  Code status = Code::kOk;
  try {
    if (!folder_.index().add_blocks(blocks_, now_ms()))
      fail(Code::kIo, "{}: a segment is gone from the index", folder_.options().folder);
    folder_.segments().committed();
  } catch (const Error& e) {
    if (e.code() == Code::kBusy) return;
    status = failed(e);
    folder_.segments().abandon();
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const bool good = status == Code::kOk;
    if (good) known_.add(blocks_[i].key, blocks_[i].place);
    report({tickets_[i], status, good ? blocks_[i].place.bytes : 0u});
  }
  blocks_.clear();
  tickets_.clear();
}

bool DiskPuts::find(const BlockKey& key, BlockPlace* place) const {
  const auto it =
      std::find_if(blocks_.begin(), blocks_.end(), [&](const NewBlock& b) { return b.key == key; });
  if (it == blocks_.end()) return false;
  *place = it->place;
  return true;
}

}  // namespace v4i::store
