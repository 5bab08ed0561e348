// TableFiles: where the rows of the tables lie in the shards.
//
// A row has its codes in one tensor and its scales in another, maybe of another shard.
//
// Immutable; any thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/engram/row_form.h"
#include "lib/engram/table_source.h"

namespace v4i::engram {

class TableFiles {
 public:
  using Open = std::function<int(const std::string& path)>;
  enum class Access { kMapped, kBuffered, kDirect };

  // Opens the shards, unless only the mapping is used; `open` in place of open(), where it is not
  // empty.  Error(kFormat) for a table of another shape than the config's, Error(kIo) for shards
  // that have changed since they were mapped.
  TableFiles(TableSource source, Access access, const Open& open);
  ~TableFiles();
  TableFiles(const TableFiles&) = delete;
  TableFiles& operator=(const TableFiles&) = delete;

  const model::EngramConfig& config() const { return source_.config->engram; }
  std::size_t layers() const { return tables_.size(); }
  const RowForm& form() const { return form_; }

  struct Range {
    int fd = -1;
    std::uint64_t begin = 0, bytes = 0;
  };
  Range range(std::size_t layer, Part part, std::int32_t row) const {
    const Tensor& t = tables_[layer].parts[static_cast<int>(part)];
    const std::uint64_t bytes = form_.bytes(part);
    return {files_[t.shard], t.begin + static_cast<std::uint64_t>(row) * bytes, bytes};
  }
  const std::byte* mapped(std::size_t layer, Part part, std::int32_t row) const {
    const Tensor& t = tables_[layer].parts[static_cast<int>(part)];
    return t.data + static_cast<std::size_t>(row) * form_.bytes(part);
  }

  // Error(kIo) naming shard, tensor and row; `error` 0: the file has ended.
  [[noreturn]] void fail_read(std::size_t layer, Part part, std::int32_t row, int error) const;
  // Error(kFormat) naming shard, tensor and row.
  [[noreturn]] void fail_defect(std::size_t layer, std::int32_t row,
                                const RowForm::Defect& defect) const;

 private:
  struct Tensor {
    std::uint32_t shard = 0;
    std::uint64_t begin = 0;  // in the shard
    const std::byte* data = nullptr;
    std::string name;
  };
  struct Table {
    Tensor parts[2];
  };
  void add_table(std::size_t layer);
  void open_shard(std::uint32_t shard, bool direct, const Open& open);
  void close() noexcept;
  const std::string& path(const Tensor& t) const { return source_.checkpoint->shard_path(t.shard); }

  TableSource source_;
  RowForm form_;
  std::vector<Table> tables_;
  std::vector<int> files_;  // of each shard, or -1
};

}  // namespace v4i::engram
