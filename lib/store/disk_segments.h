// DiskSegments: the segment files of a folder: the one that is written, those that are read, and
// which of them goes when room is needed.
//
// A segment is written by one process, from its beginning to its end, and never again: blocks are
// immutable, so are segments.  It leaves as a whole.  It is never synced: a page that a power
// failure has kept from the disk does not have its checksum.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/budget.h"
#include "lib/store/disk_files.h"
#include "lib/store/disk_index.h"

namespace v4i::store {

class DiskSegments {
 public:
  // `capacity` as in DiskOptions.
  DiskSegments(std::string folder, std::uint64_t capacity, Budget& budget, DiskIndex& index,
               DiskFiles& files);
  ~DiskSegments();
  DiskSegments(const DiskSegments&) = delete;
  DiskSegments& operator=(const DiskSegments&) = delete;

  // Removes what dead processes have left, files without rows and rows without files.  While
  // nobody else opens the folder.
  void clean();

  // Room for so many pages at the end of the segment that is written; another one when this is
  // full; evicts for it.  Error kNoMemory (nothing may leave), kIo, kBusy.
  struct Room {
    std::int64_t segment = 0;
    std::uint32_t page = 0;
    int fd = -1;
  };
  Room make_room(std::uint64_t pages);
  void written(std::uint64_t pages);  // into the room that was made
  void committed();                   // the index has all that was written
  void abandon() noexcept;            // ... or never will: the next room is in another segment
  bool fits(std::uint64_t pages) const;

  // To read from; null when it is gone.  Error(kIo) when it cannot be opened.
  std::shared_ptr<const ReadFile> reader(std::int64_t segment);
  bool has(std::int64_t segment) const { return rows_.contains(segment); }
  void drop(std::int64_t segment);  // has no blocks any more, or no file
  // Now and then: what other processes have done, and when segments were used last.
  void refresh();
  void note_use();

  std::uint64_t bytes() const { return bytes_; }  // of all segment files of the folder
  std::uint64_t evictions() const { return evictions_; }

 private:
  struct Written {  // a segment that this process writes, or has written
    std::int64_t number = 0;
    std::uint64_t pages = 0;
    std::uint64_t uncommitted = 0;
    std::unique_ptr<Descriptor> file;  // open, so locked: nobody else removes it
  };
  struct Open {
    std::shared_ptr<const ReadFile> file;
    std::uint64_t used = 0;
  };
  std::string path_of(std::int64_t segment) const;
  int open_to_read(const std::string& path, bool direct);
  void begin_segment(std::uint64_t bytes);
  void finish_segment();
  void remove_unnamed(std::span<const std::uint64_t> files);
  bool evict();  // the coldest segment that nobody writes
  bool writes(std::int64_t segment) const;
  void reload();
  void count() noexcept;  // bytes_ with the Budget
  void forget(std::int64_t segment) noexcept;

  const std::string folder_;
  const std::uint64_t capacity_, segment_bytes_;
  Budget& budget_;
  DiskIndex& index_;
  DiskFiles& files_;

  std::map<std::int64_t, SegmentRow> rows_;
  std::unique_ptr<Written> current_;
  std::vector<std::unique_ptr<Written>> full_;  // not committed yet
  std::unordered_map<std::int64_t, Open> open_;
  std::uint64_t opened_ = 0;
  std::unordered_map<std::int64_t, std::int64_t> uses_;  // segment -> ms, not noted yet
  std::uint64_t bytes_ = 0, counted_ = 0, evictions_ = 0;
};

}  // namespace v4i::store
