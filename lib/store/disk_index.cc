// DiskIndex: the tables and queries; see disk_index.h.
//
//   segments  number, name, reserved, bytes, blocks, used
//   blocks    place = segment number * 2^20 + first page: rows of a segment lie side by side and go
//             together; key, bytes, sums (uint32, little-endian, one a page)
#include "lib/store/disk_index.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "lib/base/file.h"
#include "lib/store/disk_files.h"
#include "lib/store/disk_sql.h"

namespace v4i::store {

namespace {

constexpr int kPageBits = 20;
constexpr std::int64_t kApplication = 0x5634494b;  // "V4IK", in the header of the file

constexpr const char* kSchema =
    "CREATE TABLE segments(number INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER NOT NULL UNIQUE,"
    "  reserved INTEGER NOT NULL, bytes INTEGER NOT NULL, blocks INTEGER NOT NULL,"
    "  used INTEGER NOT NULL);"
    "CREATE TABLE blocks(place INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
    "  bytes INTEGER NOT NULL, sums BLOB NOT NULL);"
    "PRAGMA application_id = 0x5634494b; PRAGMA user_version = 1;";

std::int64_t place_of(std::int64_t segment, std::uint32_t page) {
  return segment << kPageBits | page;
}

std::span<const std::byte> bytes_of(const BlockKey& key) {
  return std::as_bytes(std::span(key.bytes));
}

// WAL is a property of the file.  Processes that open it for the first time at once may find each
// other in the way, for an instant.
void use_wal(Sql& sql) {
  for (int tries = 0;; ++tries) try {
      sql.run(
          "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
          "PRAGMA journal_size_limit = 8388608;");
      return;
    } catch (const Error& e) {
      if (e.code() != Code::kBusy || tries == 100) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void check_version(Sql& sql) {
  const std::int64_t application = sql.number("PRAGMA application_id");
  const std::int64_t version = sql.number("PRAGMA user_version");
  if (application != kApplication)
    fail(Code::kFormat, "{}: not the index of a disk tier (application id {:#x})", sql.path(),
         application);
  if (version != DiskIndex::kVersion)
    fail(Code::kFormat,
         "{}: the folder has version {} of the disk tier, this library uses version {}: give "
         "another folder, or delete this one",
         sql.path(), version, DiskIndex::kVersion);
}

}  // namespace

std::string index_path(const std::string& folder) { return join_path(folder, "index.db"); }

struct DiskIndex::Database {
  Database(const std::string& path, Sql::Mode m) : mode(m), sql(path, m) {}
  Sql::Mode mode;
  Sql sql;
  std::int64_t data_version = -1;
  // Prepared by prepare(), when the tables are there.
  std::optional<Statement> find, segments, version, add_block, grow_segment, erase, shrink_segment,
      use_segment;

  void prepare() {
    find.emplace(sql, "SELECT place, bytes, sums FROM blocks WHERE key = ?");
    segments.emplace(sql,
                     "SELECT number, name, reserved, bytes, blocks, used FROM segments "
                     "ORDER BY used, number");
    version.emplace(sql, "PRAGMA data_version");
    if (mode != Sql::Mode::kWrite) return;
    add_block.emplace(sql, "INSERT OR IGNORE INTO blocks(place, key, bytes, sums) VALUES(?,?,?,?)");
    grow_segment.emplace(sql,
                         "UPDATE segments SET bytes = max(bytes, ?), blocks = blocks + ?, "
                         "used = max(used, ?) WHERE number = ?");
    erase.emplace(sql, "DELETE FROM blocks WHERE key = ? RETURNING place >> 20");
    shrink_segment.emplace(
        sql, "UPDATE segments SET blocks = blocks - 1 WHERE number = ? RETURNING blocks");
    use_segment.emplace(sql, "UPDATE segments SET used = max(used, ?) WHERE number = ?");
  }
};

DiskIndex::DiskIndex(const std::string& folder, bool read_only)
    : folder_(folder), read_only_(read_only) {
  if (read_only) {
    database();
    return;
  }
  database_ = std::make_unique<Database>(index_path(folder), Sql::Mode::kWrite);
  Sql& sql = database_->sql;
  sql.wait_for_others(10000);
  use_wal(sql);
  {
    Transaction once(sql);
    if (sql.number("SELECT count(*) FROM sqlite_schema") == 0) sql.run(kSchema);
    check_version(sql);
    once.commit();
  }
  database_->prepare();
}

DiskIndex::~DiskIndex() = default;

// To read only: as a file at rest where no process writes (the -shm file is there while one does,
// or after one was killed), so that nothing is changed or made.
DiskIndex::Database& DiskIndex::database() {
  if (!read_only_) return *database_;
  const std::string path = index_path(folder_);
  const bool at_rest = !file_exists(path + "-shm");
  const Sql::Mode mode = at_rest ? Sql::Mode::kAtRest : Sql::Mode::kRead;
  if (database_ != nullptr && database_->mode == mode) return *database_;
  if (!file_exists(path)) fail(Code::kIo, "{}: there is no disk tier in this folder", folder_);
  database_.reset();
  auto opened = std::make_unique<Database>(path, mode);
  opened->sql.wait_for_others(1000);
  check_version(opened->sql);
  opened->prepare();
  database_ = std::move(opened);
  return *database_;
}

void DiskIndex::wait_for_others(int milliseconds) { database().sql.wait_for_others(milliseconds); }

bool DiskIndex::find(const BlockKey& key, BlockPlace* place) {
  Rows rows(*database().find);
  rows.bind(bytes_of(key));
  if (!rows.next()) return false;
  const std::int64_t at = rows.number(0);
  place->segment = at >> kPageBits;
  place->page = static_cast<std::uint32_t>(at & ((1 << kPageBits) - 1));
  place->bytes = static_cast<std::uint32_t>(rows.number(1));
  const auto sums = rows.bytes(2);
  const std::size_t pages = pages_of(place->bytes);
  if (sums.size() != pages * sizeof(std::uint32_t))
    throw DamagedFile(Code::kFormat,
                      fmt::format("{}: a block of {} pages has checksums of {} bytes",
                                  database_->sql.path(), pages, sums.size()));
  place->sums.resize(pages);
  std::memcpy(place->sums.data(), sums.data(), sums.size());
  return true;
}

std::vector<SegmentRow> DiskIndex::segments() {
  std::vector<SegmentRow> all;
  Rows rows(*database().segments);
  const auto natural = [&](int column) { return static_cast<std::uint64_t>(rows.number(column)); };
  while (rows.next())
    all.push_back({rows.number(0), natural(1), natural(2), natural(3), natural(4), rows.number(5)});
  return all;
}

DiskIndex::Totals DiskIndex::totals() {
  Statement sum(database().sql, "SELECT total(bytes), total(blocks) FROM segments");
  Rows rows(sum);
  if (!rows.next()) return {};
  return {static_cast<std::uint64_t>(rows.number(0)), static_cast<std::uint64_t>(rows.number(1))};
}

bool DiskIndex::changed() {
  Database& d = database();
  Rows rows(*d.version);
  const std::int64_t now = rows.next() ? rows.number(0) : 0;
  return std::exchange(d.data_version, now) != now;
}

std::int64_t DiskIndex::add_segment(std::uint64_t name, std::uint64_t reserved,
                                    std::uint64_t capacity, std::int64_t now) {
  Sql& sql = database().sql;
  Statement add(sql, "INSERT INTO segments(name, reserved, bytes, blocks, used) VALUES(?,?,0,0,?)");
  Transaction all(sql);
  const auto others =
      static_cast<std::uint64_t>(sql.number("SELECT total(max(reserved, bytes)) FROM segments"));
  if (reserved > capacity || others > capacity - reserved) return 0;
  {
    Rows rows(add);
    rows.bind(static_cast<std::int64_t>(name)).bind(static_cast<std::int64_t>(reserved)).bind(now);
    rows.next();
  }
  const std::int64_t number = sql.last_row();
  all.commit();
  return number;
}

void DiskIndex::drop_segments(std::span<const std::int64_t> numbers) {
  if (numbers.empty()) return;
  Sql& sql = database().sql;
  Statement blocks(sql, "DELETE FROM blocks WHERE place >= ? AND place < ?");
  Statement segment(sql, "DELETE FROM segments WHERE number = ?");
  Transaction all(sql);
  for (const std::int64_t number : numbers) {
    Rows a(blocks), b(segment);
    a.bind(place_of(number, 0)).bind(place_of(number + 1, 0)).next();
    b.bind(number).next();
  }
  all.commit();
}

void DiskIndex::finish_segment(std::int64_t number, std::uint64_t bytes) {
  Statement finish(database().sql, "UPDATE segments SET reserved = ? WHERE number = ?");
  Rows rows(finish);
  rows.bind(static_cast<std::int64_t>(bytes)).bind(number).next();
}

bool DiskIndex::add_blocks(std::span<const NewBlock> blocks, std::int64_t now) {
  Database& d = database();
  Transaction all(d.sql);
  for (std::size_t i = 0; i < blocks.size();) {
    const std::int64_t segment = blocks[i].place.segment;
    std::int64_t added = 0;
    std::uint64_t end = 0;
    for (; i < blocks.size() && blocks[i].place.segment == segment; ++i) {
      const BlockPlace& p = blocks[i].place;
      Rows row(*d.add_block);
      row.bind(place_of(segment, p.page)).bind(bytes_of(blocks[i].key)).bind(std::int64_t{p.bytes});
      row.bind(std::as_bytes(std::span(p.sums))).next();
      added += d.sql.changes();
      end = (p.page + p.sums.size()) * kDiskPage;
    }
    Rows row(*d.grow_segment);
    row.bind(static_cast<std::int64_t>(end)).bind(added).bind(now).bind(segment).next();
    if (d.sql.changes() == 0) return false;
  }
  all.commit();
  return true;
}

std::optional<DiskIndex::Left> DiskIndex::erase(const BlockKey& key) {
  Database& d = database();
  Transaction all(d.sql);
  std::optional<Left> left;
  {
    Rows gone(*d.erase);
    if (!gone.bind(bytes_of(key)).next()) return {};
    Rows segment(*d.shrink_segment);
    if (segment.bind(gone.number(0)).next())
      left = Left{gone.number(0), static_cast<std::uint64_t>(segment.number(0))};
  }
  all.commit();
  return left;
}

void DiskIndex::note_use(std::span<const Used> uses) {
  if (uses.empty() || read_only_) return;
  Database& d = database();
  Transaction all(d.sql);
  for (const Used& u : uses) Rows(*d.use_segment).bind(u.when).bind(u.segment).next();
  all.commit();
}

}  // namespace v4i::store
