// Stored forms of blocks; see stored_form.h.
#include "lib/store/stored_form.h"

#include <algorithm>
#include <cstring>

#include "lib/base/hash.h"

namespace v4i::store {

namespace {

constexpr std::size_t kSum = sizeof(std::uint64_t);

std::uint64_t seed_of(const BlockKey& key) {
  std::uint64_t seed;
  std::memcpy(&seed, key.bytes.data(), sizeof seed);
  return seed;
}

std::uint64_t page_sum(const BlockKey& key, std::size_t page, const std::byte* stored) {
  return checksum64(stored, kPage - kSum, seed_of(key) + page + 1);
}

std::uint64_t sum_at(const std::byte* p) {
  std::uint64_t sum;
  std::memcpy(&sum, p, sizeof sum);
  return sum;
}

// body(page, offset in the block, bytes)
template <class Body>
void for_each_page(const BlockShape& shape, Body&& body) {
  const std::size_t step = shape.rows_per_page() * shape.row_bytes;
  for (std::size_t page = 0; page < shape.pages(); ++page)
    body(page, page * step, shape.rows_in_page(page) * shape.row_bytes);
}

}  // namespace

std::size_t BlockShape::rows_in_page(std::size_t page) const {
  return std::min(rows_per_page(), rows() - page * rows_per_page());
}

BlockShape rows_shape(std::size_t row_bytes, std::size_t rows) {
  return {row_bytes * rows, row_bytes <= kPage - kSum ? row_bytes : 0};
}

void pack(const BlockShape& shape, const BlockKey& key, Memory& memory, const std::byte* from,
          std::byte* to) {
  if (!shape.by_row()) {
    if (to != from) memory.download(to, from, shape.bytes);
    const std::uint64_t sum = checksum64(to, shape.bytes, seed_of(key));
    std::memcpy(to + shape.bytes, &sum, kSum);
    return;
  }
  for_each_page(shape, [&](std::size_t page, std::size_t at, std::size_t n) {
    std::byte* stored = to + page * kPage;
    memory.download(stored, from + at, n);
    const std::uint64_t sum = page_sum(key, page, stored);
    std::memcpy(stored + kPage - kSum, &sum, kSum);
  });
}

bool page_intact(const BlockKey& key, std::size_t page, const std::byte* stored) {
  return sum_at(stored + kPage - kSum) == page_sum(key, page, stored);
}

bool intact(const BlockShape& shape, const BlockKey& key, const std::byte* stored) {
  if (!shape.by_row())
    return sum_at(stored + shape.bytes) == checksum64(stored, shape.bytes, seed_of(key));
  for (std::size_t page = 0; page < shape.pages(); ++page)
    if (!page_intact(key, page, stored + page * kPage)) return false;
  return true;
}

void unpack(const BlockShape& shape, Memory& memory, const std::byte* stored, std::byte* to) {
  if (!shape.by_row()) return memory.upload(to, stored, shape.bytes);
  for_each_page(shape, [&](std::size_t page, std::size_t at, std::size_t n) {
    memory.upload(to + at, stored + page * kPage, n);
  });
}

}  // namespace v4i::store
