// Attention of all patches of an image to all, head by head; see vision.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/forward/cpu/cpu.h"
#include "lib/forward/cpu/vision.h"

namespace v4i::forward::cpu {

// Keys and values of the tower's block in work, as kernels::dense_attention takes them: of each
// head keys lie in tiles, as columns, and values as rows.
class ImageAttention {
 public:
  static constexpr std::int64_t kQueries = 64;  // of a head, in one piece of work
  static constexpr std::int64_t kTile = kernels::kDenseTile;

  ImageAttention(const Cpu& cpu, const model::VisionConfig& config, const PatchGrid& grid,
                 Budget& budget);

  // What wqkv made of patches [first, first + n): [n, 3 * width].  Rotates queries and keys,
  // there too.  Error(kFormat) when something is no finite number, as in attend().
  void put(std::int64_t first, std::int64_t n, float* qkv);
  // Once all are put: every query becomes what it found.
  void attend(const CancelFlag* cancel);
  const float* rows() const { return q_.data(); }  // [patches, width]

 private:
  struct Scratch {
    Buffer<float> sum;        // [kQueries, head_dim]
    Buffer<float> top, mass;  // [kQueries]
  };

  void fill_angles(const model::VisionConfig& config, const PatchGrid& grid, Budget& budget);
  void turn(std::int64_t patch, float* head) const;
  void put_patch(std::int64_t patch, float* row);
  [[noreturn]] void refuse(const char* what) const;
  // The tile that the patch is in: [dim, kTile].
  float* keys(std::int64_t head, std::int64_t patch) {
    const std::int64_t tiles = (patches_ + kTile - 1) / kTile;
    return k_.data() + (head * tiles + patch / kTile) * kTile * dim_;
  }
  float* values(std::int64_t head, std::int64_t patch) {
    return v_.data() + (head * patches_ + patch) * dim_;
  }
  void attend_to(std::int64_t head, std::int64_t first, std::int64_t n, int thread);
  const Cpu& cpu_;
  const std::int64_t patches_, width_, heads_, dim_, grid_width_;
  Buffer<float> row_turn_, column_turn_;  // [index][dim / 4] cosines, then as many sines
  Buffer<float> q_;                       // [patches, width]
  Buffer<float> k_, v_;                   // [heads][tile][dim][kTile]; [heads][patches][dim]
  std::vector<Scratch> scratch_;          // of each thread
};

}  // namespace v4i::forward::cpu
