// Pieces of memory for transfers; see staging.h.
#include "lib/store/staging.h"

#include <cstdint>

#include "lib/base/error.h"

namespace v4i::store {

namespace {

constexpr std::size_t kAlign = 4096;

}  // namespace

Staging::Staging(Budget& budget, std::size_t piece_bytes, std::size_t most, std::size_t least)
    : piece_bytes_((piece_bytes + kAlign - 1) / kAlign * kAlign) {
  const std::uint64_t cap = budget.cap(), used = budget.used();
  const std::uint64_t open = used < cap ? cap - used : 0;
  std::size_t n = most;
  while (n > least && n * piece_bytes_ + kAlign > open / 8) n /= 2;
  n = n < least ? least : n;
  free_.reserve(n);
  bytes_ = Buffer<std::byte>(budget, n * piece_bytes_ + kAlign, Use::kKv,
                             "blocks on their way to and from their store");
  const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
  std::byte* first = bytes_.data() + (kAlign - address % kAlign) % kAlign;
  for (std::size_t i = 0; i < n; ++i) free_.push_back(first + i * piece_bytes_);
}

Staging::Piece Staging::take() {
  if (free_.empty()) return {};
  std::byte* data = free_.back();
  free_.pop_back();
  return {this, data};
}

}  // namespace v4i::store
