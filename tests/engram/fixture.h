// A model's Engram tables alone, in shards of their own, and what rows of them must be.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/engram/tables.h"
#include "tests/support/tiny_model.h"

namespace v4i::test {

struct TableShape {
  model::EngramConfig engram;
  std::int64_t vocab = 512;
};
TableShape tiny_tables();  // 2 layers of 6 columns, 64 wide; 2914 rows
TableShape wide_tables();  // 2 layers of 24 columns, 256 wide, as released; 27,912 rows

class EngramTables {
 public:
  // Random codes and scales, the tensors of one table in different shards, at odd offsets.
  explicit EngramTables(const TableShape& shape, int seed = 1);

  engram::TableSource source() const;
  engram::ClassMap classes() const;
  const model::Config& config() const { return config_; }
  const loader::Checkpoint& checkpoint() const { return *checkpoint_; }
  // Of a tensor: the shard's path, and where in it a byte of the tensor lies.
  std::string shard(std::size_t layer, engram::Part part) const;
  std::uint64_t offset(std::size_t layer, engram::Part part, std::int32_t row) const;
  Weight& table(std::size_t layer) { return tables_[layer]; }
  void overwrite(std::size_t layer, engram::Part part, std::int32_t row, std::size_t at,
                 std::uint8_t byte) const;

  // Windows of `tokens` positions of a random text with dead positions and words that come again.
  std::vector<std::int32_t> windows(std::size_t tokens, std::uint32_t seed) const;
  // What rows() must give for one layer, from the mapping, with double arithmetic.
  std::vector<float> wanted(std::size_t layer, const std::vector<std::int32_t>& windows) const;
  std::vector<std::int32_t> rows_of(std::size_t layer,
                                    const std::vector<std::int32_t>& windows) const;

 private:
  TempDir dir_;
  model::Config config_;
  std::unique_ptr<loader::Checkpoint> checkpoint_;
  std::vector<Weight> tables_;
};

// Binds the tables of a checkpoint by name.
std::vector<Weight> bind_tables(const loader::Checkpoint& checkpoint, const model::Config& config);

// A shard with the table of layer 0 that is all holes.
void write_sparse_table(const std::string& path, std::int64_t rows, std::int64_t head_dim);

// All layers of a run, waited for and taken in pieces; equal bit for bit to `wanted`?
bool run_equals(engram::Tables& tables, const EngramTables& model,
                const std::vector<std::int32_t>& windows);
// The same, of a run that has begun.
bool rest_equals(engram::Tables& tables, const EngramTables& model,
                 const std::vector<std::int32_t>& windows);

}  // namespace v4i::test
