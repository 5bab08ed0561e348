// DiskGets; see disk_gets.h.
#include "lib/store/disk_gets.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/hash.h"

namespace v4i::store {

namespace {

constexpr std::size_t kSpare = 16;
constexpr std::uint64_t kForever = 3600ull * 1'000'000'000;

bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kDiskPage == 0; }

}  // namespace

std::uint32_t page_sum(const BlockKey& key, const BlockPlace& place, std::size_t page,
                       std::span<const std::byte> bytes) {
  std::uint64_t seed;
  std::memcpy(&seed, key.bytes.data(), sizeof seed);
  seed ^= (std::uint64_t{place.bytes} << 32 | page) * 0x9e3779b97f4a7c15ull;
  return static_cast<std::uint32_t>(checksum64(bytes.data(), bytes.size(), seed));
}

DiskGets::~DiskGets() {
  for (Running& r : under_way_)
    if (!reads_->cancel(r.request))
      while (!reads_->wait(r.request, kForever)) {
      }
}

std::byte* DiskGets::bounce(Running& r, std::size_t bytes) {
  r.bounce = Buffer<std::byte>(budget_, bytes + kDiskPage, Use::kScratch,
                               "a block on its way from a disk");
  const auto at = reinterpret_cast<std::uintptr_t>(r.bounce.data());
  return r.bounce.data() + (kDiskPage - at % kDiskPage) % kDiskPage;
}

void DiskGets::begin(Get get) {
  if (spare_.empty()) spare_.emplace_back();
  Running& r = spare_.front();
  const std::uint64_t first = get.at / kDiskPage, end = pages_of(get.at + get.to.size());
  const std::size_t bytes = static_cast<std::size_t>((end - first) * kDiskPage);
  const bool whole = get.to.size() == get.place.bytes;
  const bool pages = get.at % kDiskPage == 0 && get.to.size() == bytes;
  const bool direct = pages && is_aligned(get.to.data());
  r.request.to = direct || whole ? get.to.data() : bounce(r, bytes);
  r.request.fd = (whole && !direct ? get.file->cached : get.file->direct).get();
  r.request.offset = (get.place.page + first) * kDiskPage;
  r.request.bytes = whole ? get.to.size() : bytes;
  r.get = std::move(get);
  under_way_.splice(under_way_.end(), spare_, spare_.begin());
  ReadRequest* const one[] = {&r.request};
  reads_->submit(one);
}

bool DiskGets::intact(const Running& r) {
  if (r.request.read < r.request.bytes) return false;  // the file has become shorter
  const std::size_t first = static_cast<std::size_t>(r.get.at / kDiskPage);
  for (std::size_t done = 0; done < r.request.bytes; done += kDiskPage) {
    const std::size_t page = first + done / kDiskPage;
    const std::size_t own = std::min<std::size_t>(kDiskPage, r.get.place.bytes - page * kDiskPage);
    if (page_sum(r.get.key, r.get.place, page, {r.request.to + done, own}) !=
        r.get.place.sums[page])
      return false;
  }
  return true;
}

bool DiskGets::take(Get* get, Outcome* outcome) {
  const auto it = std::find_if(under_way_.begin(), under_way_.end(),
                               [](const Running& r) { return r.request.done(); });
  if (it == under_way_.end()) return false;
  Running& r = *it;
  *outcome = r.request.error != 0 ? Outcome::kError
             : intact(r)          ? Outcome::kGood
                                  : Outcome::kDamaged;
  if (*outcome == Outcome::kGood && r.bounce.size() > 0)
    std::copy_n(r.request.to + r.get.at % kDiskPage, r.get.to.size(), r.get.to.data());
  *get = std::move(r.get);
  r.get = {};
  r.bounce.reset();
  spare_.splice(spare_.begin(), under_way_, it);
  if (spare_.size() > kSpare) spare_.pop_back();
  return true;
}

}  // namespace v4i::store
