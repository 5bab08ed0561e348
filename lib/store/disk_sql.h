// Sql: a SQLite database, its statements and transactions, with our errors.
//
//   kBusy     another process writes; the same call may succeed later
//   kFormat   as DamagedFile: the file is damaged, or none of SQLite's
//   kNoMemory the disk is full
//   kIo       everything else
//
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lib/base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace v4i::store {

class DamagedFile final : public Error {
 public:
  using Error::Error;
};

class Sql {
 public:
  enum class Mode {
    kWrite,   // made when it is not there
    kRead,    // nothing is written, others may write; needs their -shm file
    kAtRest,  // nothing is written, by nobody
  };
  Sql(const std::string& path, Mode mode);
  ~Sql();
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;

  void run(const char* statements);
  std::int64_t number(const char* query);  // the first column of the first row; 0 without one
  void wait_for_others(int milliseconds);  // before kBusy
  std::int64_t changes() const;            // rows of the last insert, update or delete
  std::int64_t last_row() const;           // the number of the last inserted
  const std::string& path() const { return path_; }

 private:
  friend class Statement;
  friend class Rows;
  [[noreturn]] void refuse(int result, const char* what) const;
  std::string path_;
  sqlite3* db_ = nullptr;
};

class Statement {
 public:
  Statement(Sql& sql, const char* text);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

 private:
  friend class Rows;
  Sql& sql_;
  sqlite3_stmt* statement_ = nullptr;
};

// One run of a Statement, over when this goes.
class Rows {
 public:
  explicit Rows(Statement& statement) : statement_(statement) {}
  ~Rows();
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  Rows& bind(std::int64_t value);                // the next parameter
  Rows& bind(std::span<const std::byte> value);  // stays there until this goes
  bool next();                                   // is there a row?
  std::int64_t number(int column) const;
  std::span<const std::byte> bytes(int column) const;  // until next()

 private:
  Statement& statement_;
  int bound_ = 0;
};

// Writes nothing unless commit() returns.
class Transaction {
 public:
  explicit Transaction(Sql& sql) : sql_(sql) { sql_.run("BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Sql& sql_;
  bool open_ = true;
};

}  // namespace v4i::store
