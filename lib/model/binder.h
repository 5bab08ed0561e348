// Binder: takes tensors out of a Checkpoint by name, one at a time, and trusts none.
//
// Each call compares dtype and shape with what the Config asks for, so that what
// comes back can be read without another check.  It keeps a note of what was
// taken; finish() refuses what was not, because a tensor that belongs to the model
// and has no place in it means that config.json describes another model.
//
// One thread; lives for one bind.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/loader/checkpoint.h"
#include "lib/model/weights.h"

namespace v4i::model {

class Binder {
 public:
  Binder(const loader::Checkpoint& checkpoint, std::int64_t fp8_block);

  bool has(std::string_view name) const { return checkpoint_.find(name) >= 0; }
  bool has_prefix(std::string_view prefix) const;
  const std::string& folder() const { return checkpoint_.folder(); }

  // A small tensor, F32, BF16 or F16, as floats; NaN and infinity are refused.
  Vector vector(const std::string& name, const std::vector<std::int64_t>& shape);

  // I64 or I32 [rows, cols], every value in [0, limit).
  std::vector<std::int32_t> indices(const std::string& name, std::int64_t rows, std::int64_t cols,
                                    std::int64_t limit);

  // BF16 or F32 [rows, cols]; `name` is the whole tensor name.
  Weight plain(const std::string& name, std::int64_t rows, std::int64_t cols);

  // base.weight as F8_E4M3 with base.scale, or plain.  Scales are small and are
  // checked for NaN here.
  Weight dense(const std::string& base, std::int64_t rows, std::int64_t cols);

  // base.weight as F8_E4M3 with base.scale, one scale for 32 columns of a row.  It may be larger
  // than memory, and nothing of it is read here.
  Weight table(const std::string& base, std::int64_t rows, std::int64_t cols);

  // A routed expert's matrix in the given format, as found by expert_format().
  Weight expert(const std::string& base, std::int64_t rows, std::int64_t cols, WeightFormat format);

  // The format of all routed experts: that of `first` (a weight tensor), which must
  // agree with what config.json says, when it says something.
  WeightFormat expert_format(const std::string& first, ExpertDType configured) const;

  // Refuses what belongs to the model and was not taken.
  void finish() const;

 private:
  const loader::TensorInfo& take(const std::string& name, std::string_view dtypes,
                                 const std::vector<std::int64_t>& shape);
  void expect(const loader::TensorInfo& t, bool dtype_fits, std::string_view dtypes,
              const std::vector<std::int64_t>& shape) const;
  const std::uint8_t* scales(const std::string& name, std::int64_t rows, std::int64_t cols);
  Weight quantised(const std::string& base, std::int64_t rows, std::int64_t cols,
                   WeightFormat format, int block_rows, int block_cols);

  Weight fp8(const std::string& base, std::int64_t rows, std::int64_t cols);

  const loader::Checkpoint& checkpoint_;
  std::int64_t fp8_block_;
  std::vector<bool> taken_;
};

}  // namespace v4i::model
