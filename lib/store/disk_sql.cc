// Sql over SQLite; see disk_sql.h.
#include "lib/store/disk_sql.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <utility>

#include "lib/base/uninterrupted.h"

// SQLite looks for folders of temporary files in the environment, which this library does not
// read; it makes none.  libv4infer is linked with --wrap=getenv, which leads here.
extern "C" char* __wrap_getenv(const char*);
extern "C" char* __wrap_getenv(const char*) { return nullptr; }

namespace v4i::store {

namespace {

Code code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kBusy;
    case SQLITE_ERROR:  // a statement that the tables do not fit
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kFormat;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return Code::kNoMemory;
    default:
      return Code::kIo;
  }
}

// A file name as SQLite's "file:" names want it.
std::string uri(const std::string& path, const char* parameters) {
  std::string out = "file:";
  for (const char c : path) {
    if (c == '?' || c == '#' || c == '%')
      out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + parameters;
}

// SQLite gives its other files the mode of this one.  A file that is there is not opened: closing
// it would end the locks that another store of this process has on it.
void make_private(const std::string& path) {
  const int fd = uninterrupted(
      [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); });
  if (fd >= 0) ::close(fd);
}

}  // namespace

Sql::Sql(const std::string& path, Mode mode) : path_(path) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
  std::string name = path;
  if (mode == Mode::kWrite) {
    make_private(path);
    flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (!path.starts_with('/')) name = "./" + path;  // not a "file:" name
  } else {
    flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
    name = uri(path, mode == Mode::kRead ? "?readonly_shm=1" : "?immutable=1");
  }
  try {
    const int result = sqlite3_open_v2(name.c_str(), &db_, flags, nullptr);
    if (result != SQLITE_OK) refuse(result, "opening it");
    if (mode == Mode::kRead) sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    // Half a megabyte of its pages in memory, and never a mapped file: damage of the disk is an
    // error then, not a signal.
    run("PRAGMA cache_size = -512; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA secure_delete = OFF;");
  } catch (...) {
    sqlite3_close(db_);
    throw;
  }
}

Sql::~Sql() { sqlite3_close(db_); }

void Sql::refuse(int result, const char* what) const {
  const char* text = db_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(db_);
  std::string sentence = fmt::format("{}: {} failed: {} (SQLite {})", path_, what, text, result);
  if (code_of(result) == Code::kFormat) throw DamagedFile(Code::kFormat, std::move(sentence));
  throw Error(code_of(result), std::move(sentence));
}

void Sql::run(const char* statements) {
  const int result = sqlite3_exec(db_, statements, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) refuse(result, statements);
}

std::int64_t Sql::number(const char* query) {
  Statement statement(*this, query);
  Rows rows(statement);
  return rows.next() ? rows.number(0) : 0;
}

void Sql::wait_for_others(int milliseconds) { sqlite3_busy_timeout(db_, milliseconds); }
std::int64_t Sql::changes() const { return sqlite3_changes64(db_); }
std::int64_t Sql::last_row() const { return sqlite3_last_insert_rowid(db_); }

Statement::Statement(Sql& sql, const char* text) : sql_(sql) {
  const int result =
      sqlite3_prepare_v3(sql.db_, text, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  if (result != SQLITE_OK) sql.refuse(result, text);
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Rows::~Rows() {
  sqlite3_reset(statement_.statement_);
  sqlite3_clear_bindings(statement_.statement_);
}

Rows& Rows::bind(std::int64_t value) {
  V4I_CHECK(sqlite3_bind_int64(statement_.statement_, ++bound_, value) == SQLITE_OK);
  return *this;
}

Rows& Rows::bind(std::span<const std::byte> value) {
  V4I_CHECK(sqlite3_bind_blob64(statement_.statement_, ++bound_, value.data(), value.size(),
                                SQLITE_STATIC) == SQLITE_OK);
  return *this;
}

bool Rows::next() {
  const int result = sqlite3_step(statement_.statement_);
  if (result == SQLITE_ROW) return true;
  if (result != SQLITE_DONE) statement_.sql_.refuse(result, sqlite3_sql(statement_.statement_));
  return false;
}

std::int64_t Rows::number(int column) const {
  return sqlite3_column_int64(statement_.statement_, column);
}

std::span<const std::byte> Rows::bytes(int column) const {
  const void* p = sqlite3_column_blob(statement_.statement_, column);
  const int n = sqlite3_column_bytes(statement_.statement_, column);
  return {static_cast<const std::byte*>(p), p == nullptr ? 0 : static_cast<std::size_t>(n)};
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    sql_.run("ROLLBACK");
  } catch (...) {
    // SQLite has rolled back by itself.
  }
}

void Transaction::commit() {
  sql_.run("COMMIT");
  open_ = false;
}

}  // namespace v4i::store
