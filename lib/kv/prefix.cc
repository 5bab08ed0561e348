// Prefix: a growing id list with one SHA-256 link per 128 ids.
#include "lib/kv/prefix.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::kv {

namespace {

constexpr std::int64_t kFirstRoom = 4 * Prefix::kLink;

}  // namespace

std::uint64_t Prefix::most_bytes(std::uint64_t tokens) {
  constexpr std::uint64_t kEach = sizeof(std::int32_t), kLinks = sizeof(Digest);
  std::uint64_t room = kFirstRoom, before = 0;
  for (; room < tokens; room *= 2) before = room;
  return (room + before) * kEach + (room + before) / kLink * kLinks;
}

Digest Prefix::extend(const Digest& from, std::int64_t begin, std::int64_t end) const {
  Sha256 h;
  h.update(from.data(), from.size());
  h.update(ids_.data() + begin, static_cast<std::size_t>(end - begin) * sizeof(std::int32_t));
  for (const Media& m : media_)
    for (std::int64_t t = std::max(begin, m.first); t < std::min(end, m.first + m.count); ++t) {
      const std::int64_t place[2] = {t - begin, m.row + t - m.first};
      h.update(place, sizeof place);
      h.update(m.content.data(), m.content.size());
    }
  return h.finish();
}

void Prefix::reserve(std::int64_t tokens, std::size_t media) {
  media_.reserve(media_.size() + media);
  const auto have = static_cast<std::int64_t>(ids_.size());
  if (tokens <= have) return;
  std::int64_t room = std::max({tokens, 2 * have, kFirstRoom});
  room = (room + kLink - 1) / kLink * kLink;
  const char* what = "the token list of a sequence";
  Buffer<std::int32_t> ids(*budget_, static_cast<std::size_t>(room), Use::kKv, what);
  Buffer<Digest> links(*budget_, static_cast<std::size_t>(room / kLink), Use::kKv, what);
  std::copy_n(ids_.data(), size_, ids.data());
  std::copy_n(links_.data(), size_ / kLink, links.data());
  ids_ = std::move(ids);
  links_ = std::move(links);
}

void Prefix::append(std::span<const std::int32_t> ids, std::span<const Media> media) {
  const auto count = static_cast<std::int64_t>(ids.size());
  V4I_CHECK(size_ + count <= static_cast<std::int64_t>(ids_.size()));
  V4I_CHECK(media_.size() + media.size() <= media_.capacity());
  for (Media m : media) {
    m.first += size_;
    media_.push_back(m);
  }
  std::copy(ids.begin(), ids.end(), ids_.data() + size_);
  const std::int64_t first = size_ / kLink;
  size_ += count;
  for (std::int64_t k = first; k < size_ / kLink; ++k)
    links_[static_cast<std::size_t>(k)] = extend(digest(k * kLink), k * kLink, (k + 1) * kLink);
}

void Prefix::cut(std::int64_t size) noexcept {
  size_ = std::min(size_, size);
  while (!media_.empty() && media_.back().first >= size_) media_.pop_back();
  if (!media_.empty())
    media_.back().count = std::min(media_.back().count, size_ - media_.back().first);
}

bool Prefix::is_media(std::int64_t position) const {
  const auto after = std::upper_bound(media_.begin(), media_.end(), position,
                                      [](std::int64_t at, const Media& m) { return at < m.first; });
  return after != media_.begin() && position < (after - 1)->first + (after - 1)->count;
}

Prefix Prefix::copy() const {
  Prefix other(*budget_, root_);
  other.reserve(size_);
  other.media_ = media_;
  other.size_ = size_;
  std::copy_n(ids_.data(), size_, other.ids_.data());
  std::copy_n(links_.data(), size_ / kLink, other.links_.data());
  return other;
}

Digest Prefix::digest(std::int64_t size) const {
  V4I_CHECK(size >= 0 && size <= size_);
  const std::int64_t link = size / kLink, rest = size % kLink;
  const Digest& base = link == 0 ? root_ : links_[static_cast<std::size_t>(link - 1)];
  return rest == 0 ? base : extend(base, link * kLink, size);
}

}  // namespace v4i::kv
