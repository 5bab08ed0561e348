// DiskIndex: which block lies where in the segment files of a folder; the file index.db.
//
// SQLite, because several processes use it at once, because a commit is whole or not there at
// whatever instant a process is killed or the power fails, and because it reads its file instead of
// mapping it: a bad sector is an error, not a SIGBUS.  Journal: WAL, synchronous = NORMAL.  So a
// commit does not wait for the disk: after a power failure the last ones may be missing, or rows
// may be there whose bytes are not; the checksum of each page then shows it, and the block is lost.
//
// Errors as of Sql.  One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::store {

// Where a block is: whole pages of one segment, and a checksum of each.
struct BlockPlace {
  std::int64_t segment = 0;
  std::uint32_t page = 0, bytes = 0;
  std::vector<std::uint32_t> sums;
};

struct SegmentRow {
  std::int64_t number = 0;     // never used again
  std::uint64_t name = 0;      // of the file
  std::uint64_t reserved = 0;  // what the file may grow to; its size when it is finished
  std::uint64_t bytes = 0, blocks = 0;
  std::int64_t used = 0;  // milliseconds since 1970, of the last use that was noted
};

struct NewBlock {
  BlockKey key;
  BlockPlace place;
};

class DiskIndex {
 public:
  static constexpr int kVersion = 1;
  // kFormat naming what is wrong: another version, or damaged (see Sql).
  DiskIndex(const std::string& folder, bool read_only);
  ~DiskIndex();

  bool find(const BlockKey& key, BlockPlace* place);
  std::vector<SegmentRow> segments();  // those that were not used for the longest time first
  struct Totals {
    std::uint64_t bytes = 0, blocks = 0;
  };
  Totals totals();
  bool changed();  // by another connection since this was asked last
  void wait_for_others(int milliseconds);

  // These are one transaction each.
  // Its number; 0 when all segments together would have reserved more than `capacity`.
  std::int64_t add_segment(std::uint64_t name, std::uint64_t reserved, std::uint64_t capacity,
                           std::int64_t now);
  void drop_segments(std::span<const std::int64_t> numbers);
  // Sets `reserved` to `bytes`.
  void finish_segment(std::int64_t number, std::uint64_t bytes);
  // Adds those whose key is not there.  False, and nothing is added, when a segment is gone.
  bool add_blocks(std::span<const NewBlock> blocks, std::int64_t now);
  struct Left {
    std::int64_t segment;
    std::uint64_t blocks;
  };
  std::optional<Left> erase(const BlockKey& key);  // none when the block was not there
  struct Used {
    std::int64_t segment, when;
  };
  void note_use(std::span<const Used> uses);

 private:
  struct Database;
  Database& database();
  static void purge(Database& d);  // some rows of segments that are gone
  std::string folder_;
  bool read_only_ = false;
  std::unique_ptr<Database> database_;
};

std::string index_path(const std::string& folder);

}  // namespace v4i::store
