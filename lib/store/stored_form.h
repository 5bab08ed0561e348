// Stored forms: how a block lies in a BlockStore.
//
//   whole   its bytes, then checksum64 of them, seeded by the key
//   pages   of 4,096 bytes, each with as many whole rows as fit and, in its last eight bytes, the
//           checksum64 of what comes before, seeded by the key and the page's number.  Rows are in
//           order; unused bytes are zero.
//
// Blocks of rows that are read one by one lie in pages, so that a page can be read and checked
// without the rest: 7 rows of 584 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/store/block_store.h"
#include "lib/store/memory.h"

namespace v4i::store {

inline constexpr std::size_t kPage = 4096;

struct BlockShape {
  std::size_t bytes = 0;
  std::size_t row_bytes = 0;  // rows may be read one by one; 0: it is read as a whole

  bool operator==(const BlockShape&) const = default;
  bool by_row() const { return row_bytes != 0; }
  std::size_t rows() const { return bytes / row_bytes; }
  std::size_t rows_per_page() const { return (kPage - sizeof(std::uint64_t)) / row_bytes; }
  std::size_t pages() const { return (rows() + rows_per_page() - 1) / rows_per_page(); }
  std::size_t stored_bytes() const {
    return by_row() ? pages() * kPage : bytes + sizeof(std::uint64_t);
  }
  std::size_t rows_in_page(std::size_t page) const;
};

// A block of `rows` rows: by row, where a row fits into a page.
BlockShape rows_shape(std::size_t row_bytes, std::size_t rows);

// `to` is zeroed, of stored_bytes(); `from` lies in `memory`, and may be `to` for a whole one.
void pack(const BlockShape& shape, const BlockKey& key, Memory& memory, const std::byte* from,
          std::byte* to);
bool page_intact(const BlockKey& key, std::size_t page, const std::byte* stored);
// Is all of it intact?
bool intact(const BlockShape& shape, const BlockKey& key, const std::byte* stored);
// After intact().
void unpack(const BlockShape& shape, Memory& memory, const std::byte* stored, std::byte* to);

}  // namespace v4i::store
