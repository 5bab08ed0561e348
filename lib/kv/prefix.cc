// Prefix: a growing id list with one SHA-256 link per 128 ids.
#include "lib/kv/prefix.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::kv {

namespace {

constexpr std::int64_t kFirstRoom = 4 * Prefix::kLink;

Digest extend(const Digest& from, const std::int32_t* ids, std::int64_t count) {
  Sha256 h;
  h.update(from.data(), from.size());
  h.update(ids, static_cast<std::size_t>(count) * sizeof *ids);
  return h.finish();
}

}  // namespace

void Prefix::reserve(std::int64_t tokens) {
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

void Prefix::append(std::span<const std::int32_t> ids) {
  const auto count = static_cast<std::int64_t>(ids.size());
  V4I_CHECK(size_ + count <= static_cast<std::int64_t>(ids_.size()));
  std::copy(ids.begin(), ids.end(), ids_.data() + size_);
  const std::int64_t first = size_ / kLink;
  size_ += count;
  for (std::int64_t k = first; k < size_ / kLink; ++k)
    links_[static_cast<std::size_t>(k)] = extend(digest(k * kLink), ids_.data() + k * kLink, kLink);
}

void Prefix::cut(std::int64_t size) noexcept { size_ = std::min(size_, size); }

Prefix Prefix::copy() const {
  Prefix other(*budget_, root_);
  other.reserve(size_);
  other.size_ = size_;
  std::copy_n(ids_.data(), size_, other.ids_.data());
  std::copy_n(links_.data(), size_ / kLink, other.links_.data());
  return other;
}

Digest Prefix::digest(std::int64_t size) const {
  V4I_CHECK(size >= 0 && size <= size_);
  const std::int64_t link = size / kLink, rest = size % kLink;
  const Digest& base = link == 0 ? root_ : links_[static_cast<std::size_t>(link - 1)];
  return rest == 0 ? base : extend(base, ids_.data() + link * kLink, rest);
}

}  // namespace v4i::kv
