// RowForm: how a row of a table lies in memory, what may be wrong with it, and its values.
//
// head_dim e4m3 codes, behind them a ue8m0 scale for every 32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace v4i::engram {

// The two tensors that a row has bytes in.
enum class Part : std::uint8_t { kCodes = 0, kScales = 1 };

class RowForm {
 public:
  static constexpr std::size_t kScaleWidth = 32;
  explicit RowForm(std::int64_t head_dim) : codes_(static_cast<std::size_t>(head_dim)) {}

  std::size_t bytes() const { return codes_ + codes_ / kScaleWidth; }
  std::size_t bytes(Part part) const {
    return part == Part::kCodes ? codes_ : codes_ / kScaleWidth;
  }
  std::size_t begin(Part part) const { return part == Part::kCodes ? 0 : codes_; }
  std::size_t columns() const { return codes_; }

  // The first code or scale that is no number, or scale that makes a value larger than float32
  // holds.
  struct Defect {
    bool found = false;
    Part part = Part::kCodes;
    std::size_t at = 0;  // of the part
    std::uint8_t code = 0;
  };
  Defect defect(const std::byte* codes, const std::byte* scales) const;

  // columns() values; exact, whatever the host does with subnormal numbers.  No defects.
  void dequantise(const std::byte* codes, const std::byte* scales, float* out) const;

 private:
  std::size_t codes_;
};

}  // namespace v4i::engram
