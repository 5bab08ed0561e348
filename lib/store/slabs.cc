// Slabs; see slabs.h.
#include "lib/store/slabs.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace v4i::store {

namespace {

constexpr std::size_t kPage = 4096, kAlign = 64, kWord = 64;

bool is_taken(const std::vector<std::uint64_t>& taken, std::size_t piece) {
  return (taken[piece / kWord] >> piece % kWord & 1) != 0;
}

// The first piece that is free; there is one.
std::size_t first_free(const std::vector<std::uint64_t>& taken) {
  std::size_t word = 0;
  while (taken[word] == ~std::uint64_t{0}) ++word;
  return word * kWord + static_cast<std::size_t>(std::countr_one(taken[word]));
}

}  // namespace

Slabs::~Slabs() {
  for (Size& size : sizes_)
    for (Slab& slab : size.slabs) ::munmap(slab.at, kSlabBytes);
}

Slabs::Size& Slabs::of(std::size_t bytes) {
  const std::size_t stride = (bytes + kAlign - 1) / kAlign * kAlign;
  const auto it =
      std::find_if(sizes_.begin(), sizes_.end(), [&](const Size& s) { return s.stride == stride; });
  if (it != sizes_.end()) return *it;
  sizes_.push_back({stride, {}, 0});
  return sizes_.back();
}

bool Slabs::add_slab(Size& size) {
  Slab slab;
  slab.taken.resize((size.pieces() + kWord - 1) / kWord);
  size.slabs.reserve(size.slabs.size() + 1);
  void* p = ::mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return false;
#ifdef MADV_NOHUGEPAGE
  // A piece of a large page that leaves would have the kernel make the page again, with nothing in
  // it, or keep all of it.
  ::madvise(p, kSlabBytes, MADV_NOHUGEPAGE);
#endif
  slab.at = static_cast<std::byte*>(p);
  const auto place = std::find_if(size.slabs.begin(), size.slabs.end(),
                                  [&](const Slab& s) { return s.at > slab.at; });
  size.first_room = static_cast<std::size_t>(place - size.slabs.begin());
  size.slabs.insert(place, std::move(slab));
  return true;
}

std::byte* Slabs::take(std::size_t bytes) {
  std::byte* p = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    Size& size = of(bytes);
    std::size_t& s = size.first_room;
    while (s < size.slabs.size() && size.slabs[s].used == size.pieces()) ++s;
    if (s == size.slabs.size() && !add_slab(size)) return nullptr;
    Slab& slab = size.slabs[s];
    const std::size_t piece = first_free(slab.taken);
    slab.taken[piece / kWord] |= std::uint64_t{1} << piece % kWord;
    ++slab.used;
    p = slab.at + piece * size.stride;
  }
  std::memset(p, 0, bytes);
  return p;
}

// Those that hold bytes of `piece`, and of no other that is taken.
void Slabs::return_pages(const Size& size, const Slab& slab, std::size_t piece) noexcept {
  const std::size_t stride = size.stride, begin = piece * stride, end = begin + stride;
  std::size_t from = begin / kPage * kPage, to = (end + kPage - 1) / kPage * kPage;
  for (std::size_t p = from / stride; p < piece; ++p)
    if (is_taken(slab.taken, p)) from = (begin + kPage - 1) / kPage * kPage;
  for (std::size_t p = piece + 1; p < size.pieces() && p * stride < to; ++p)
    if (is_taken(slab.taken, p)) to = end / kPage * kPage;
  if (from < to) ::madvise(slab.at + from, to - from, MADV_DONTNEED);
}

void Slabs::give(std::byte* p, std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  Size& size = of(bytes);
  const auto after = std::upper_bound(size.slabs.begin(), size.slabs.end(), p,
                                      [](const std::byte* at, const Slab& s) { return at < s.at; });
  const auto slab = after - 1;
  const std::size_t piece = static_cast<std::size_t>(p - slab->at) / size.stride;
  slab->taken[piece / kWord] &= ~(std::uint64_t{1} << piece % kWord);
  if (--slab->used == 0) {
    ::munmap(slab->at, kSlabBytes);
    size.slabs.erase(slab);
    size.first_room = 0;
    return;
  }
  return_pages(size, *slab, piece);
  size.first_room = std::min(size.first_room, static_cast<std::size_t>(slab - size.slabs.begin()));
}

std::size_t Slabs::slabs() const {
  const std::scoped_lock lock(mutex_);
  std::size_t n = 0;
  for (const Size& size : sizes_) n += size.slabs.size();
  return n;
}

}  // namespace v4i::store
