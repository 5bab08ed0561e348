// Attention of all patches of an image to all, head by head; see vision.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/forward/cpu/cpu.h"
#include "lib/forward/cpu/vision.h"

namespace v4i::forward::cpu {

// Keys and values of the tower's block in work, as matrices that the products of linear.cc take:
// a head's keys are rows; its values are columns, tile by tile of kTile patches.  bf16 in native.
class ImageAttention {
 public:
  static constexpr std::int64_t kQueries = 64;  // of a head, in one piece of work
  static constexpr std::int64_t kTile = 512;    // keys whose logits exist at a time

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
    Buffer<float> logits;     // [kQueries, kTile]
    Buffer<float> part, sum;  // [kQueries, head_dim]: of a tile, of all so far
    Buffer<float> top, mass;  // [kQueries]: greatest logit, sum of the weights
  };

  void fill_angles(const model::VisionConfig& config, const PatchGrid& grid, Budget& budget);
  void turn(std::int64_t patch, float* head) const;
  void put_patch(std::int64_t patch, float* row);
  [[noreturn]] void refuse(const char* what) const;
  void store(Buffer<std::byte>& to, std::int64_t at, float value);
  Weight matrix(const Buffer<std::byte>& from, std::int64_t at, std::int64_t rows,
                std::int64_t cols) const;
  void attend_to(std::int64_t head, std::int64_t first, std::int64_t n, int thread);
  void product(const Weight& w, const float* x, std::int64_t x_stride, std::int64_t n, float* y,
               std::int64_t y_stride, int thread) const;

  const Cpu& cpu_;
  const std::int64_t patches_, width_, heads_, dim_, grid_width_;
  const std::size_t value_bytes_;         // of a key's or value's element
  Buffer<float> row_turn_, column_turn_;  // [index][dim / 4] cosines, then as many sines
  Buffer<float> q_;                       // [patches, width]
  Buffer<std::byte> k_, v_;               // [heads][patches][dim]; [heads][tile][dim][kTile]
  std::vector<Scratch> scratch_;          // of each thread
};

}  // namespace v4i::forward::cpu
