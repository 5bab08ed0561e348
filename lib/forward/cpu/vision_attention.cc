// Softmax over tiles of keys, with running maximum and sum; see vision_attention.h.
#include "lib/forward/cpu/vision_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "lib/base/error.h"

namespace v4i::forward::cpu {

namespace {

constexpr const char* kWhat = "the image tower";

bool all_finite(const float* x, std::int64_t n) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < n; ++i)
    most = std::max(most, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
  return most < 0x7f800000u;
}

// Cosines, then sines, of `index` times each frequency; angles are float32 as in training.
void fill_turn(std::int64_t index, double theta, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float exponent = static_cast<float>(i) / static_cast<float>(count);
    const float frequency = 1.0f / static_cast<float>(std::pow(theta, exponent));
    const float angle = static_cast<float>(index) * frequency;
    out[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    out[count + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}

}  // namespace

ImageAttention::ImageAttention(const Cpu& cpu, const model::VisionConfig& c, const PatchGrid& grid,
                               Budget& budget)
    : cpu_(cpu),
      patches_(grid.patches()),
      width_(c.width),
      heads_(c.heads),
      dim_(c.width / c.heads),
      grid_width_(grid.width) {
  fill_angles(c, grid, budget);
  const auto room = [&](std::int64_t count) {
    return Buffer<float>(budget, static_cast<std::size_t>(count), Use::kScratch, kWhat);
  };
  const std::int64_t tiles = (patches_ + kTile - 1) / kTile;
  q_ = room(patches_ * width_);
  k_ = room(tiles * kTile * width_);
  v_ = room(patches_ * width_);
  std::fill_n(k_.data(), k_.size(), 0.0f);  // the last tile may have columns without a key
  scratch_.resize(static_cast<std::size_t>(cpu.pool.size()));
  for (Scratch& s : scratch_) {
    s.sum = room(kQueries * dim_);
    s.top = room(kQueries);
    s.mass = room(kQueries);
  }
}

void ImageAttention::fill_angles(const model::VisionConfig& c, const PatchGrid& grid,
                                 Budget& budget) {
  const std::int64_t count = dim_ / 4;
  const auto fill = [&](std::int64_t indices) {
    Buffer<float> out(budget, static_cast<std::size_t>(indices * 2 * count), Use::kScratch, kWhat);
    for (std::int64_t i = 0; i < indices; ++i)
      fill_turn(i, c.rope_theta, count, out.data() + i * 2 * count);
    return out;
  };
  row_turn_ = fill(grid.height);
  column_turn_ = fill(grid.width);
}

// Channel j turns with channel j + dim / 2: the first half of these pairs by the patch's row, the
// others by its column.
void ImageAttention::turn(std::int64_t patch, float* head) const {
  const std::int64_t count = dim_ / 4;
  const float* turns[] = {row_turn_.data() + patch / grid_width_ * 2 * count,
                          column_turn_.data() + patch % grid_width_ * 2 * count};
  for (const float* turn : turns) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float a = head[i], b = head[i + 2 * count];
      head[i] = a * turn[i] - b * turn[count + i];
      head[i + 2 * count] = b * turn[i] + a * turn[count + i];
    }
    head += count;
  }
}

void ImageAttention::put_patch(std::int64_t patch, float* row) {
  for (std::int64_t at = 0; at < 2 * width_; at += dim_) turn(patch, row + at);
  cpu_.round(row, 2 * width_);
  std::copy_n(row, width_, q_.data() + patch * width_);
  for (std::int64_t h = 0; h < heads_; ++h) {
    const float *key = row + width_ + h * dim_, *value = key + width_;
    float* column = keys(h, patch) + patch % kTile;
    for (std::int64_t j = 0; j < dim_; ++j) column[j * kTile] = key[j];
    std::copy_n(value, dim_, values(h, patch));
  }
}

void ImageAttention::put(std::int64_t first, std::int64_t n, float* qkv) {
  cpu_.pool.run(n, element_work(n * 3 * width_), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = qkv + t * 3 * width_;
      if (!all_finite(row, 3 * width_)) refuse("queries, keys or values");
      put_patch(first + t, row);
    }
  });
}

void ImageAttention::refuse(const char* what) const {
  fail(Code::kFormat, "{}: {} of the image tower are no finite numbers", cpu_.model.path(), what);
}

// Queries [first, first + n) of a head.
void ImageAttention::attend_to(std::int64_t head, std::int64_t first, std::int64_t n, int thread) {
  Scratch& s = scratch_[static_cast<std::size_t>(thread)];
  float* q = q_.data() + first * width_ + head * dim_;
  std::fill_n(s.top.data(), n, -INFINITY);
  std::fill_n(s.mass.data(), n, 0.0f);
  std::fill_n(s.sum.data(), n * dim_, 0.0f);
  kernels::DenseAttentionArgs a{};
  a.q = q;
  a.queries = n;
  a.q_stride = width_;
  a.dim = static_cast<int>(dim_);
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim_)));
  a.round_bf16 = cpu_.native;
  a.top = s.top.data();
  a.mass = s.mass.data();
  a.sum = s.sum.data();
  for (std::int64_t k = 0; k < patches_; k += kTile) {
    a.keys = static_cast<int>(std::min(kTile, patches_ - k));
    a.k = keys(head, k);
    a.v = values(head, k);
    if (!cpu_.kernels.dense_attention(a)) refuse("logits");
  }
  for (std::int64_t i = 0; i < n; ++i) {
    float* out = q + i * width_;
    for (std::int64_t j = 0; j < dim_; ++j) out[j] = s.sum.data()[i * dim_ + j] / s.mass.data()[i];
    cpu_.round(out, dim_);
  }
}

void ImageAttention::attend(const CancelFlag* cancel) {
  const std::int64_t blocks = (patches_ + kQueries - 1) / kQueries;
  cpu_.pool.share(heads_ * blocks, product_work(2 * patches_, width_, patches_),
                  [&](std::int64_t i, int thread) {
                    if (cancel != nullptr && cancel->is_set()) return;
                    const std::int64_t first = i % blocks * kQueries;
                    attend_to(i / blocks, first, std::min(kQueries, patches_ - first), thread);
                  });
  throw_if_cancelled(cancel);
}

}  // namespace v4i::forward::cpu
