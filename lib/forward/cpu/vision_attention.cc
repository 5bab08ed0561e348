// Softmax over tiles of keys, with running maximum and sum; see vision_attention.h.
#include "lib/forward/cpu/vision_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/formats.h"
#include "lib/base/error.h"

namespace v4i::forward::cpu {

namespace {

constexpr const char* kWhat = "the image tower";

// exp(-|x|) in float32, as kernels/cpu/exp.inl has it: within 2 units in the last place; |x| above
// 87 counts as 87.  Plain arithmetic without branches, which the compiler does four at a time.
inline float exp_below(float x) {
  constexpr float kWhole = 0x1.8p23f;  // what is added to it becomes a whole number
  constexpr auto kMost = std::bit_cast<std::int32_t>(87.0f);
  const std::int32_t size = std::bit_cast<std::int32_t>(x) & 0x7fffffff;
  x = -std::bit_cast<float>(size < kMost ? size : kMost);
  const float shifted = x * 1.44269504f + kWhole;
  const float n = shifted - kWhole;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (r * r * p + r) + 1.0f;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
}

constexpr std::int64_t kLanes = 8;  // of sums and maxima, so that the compiler may use vectors

// Greatest of finite numbers; infinity where one is none.
float greatest(const float* x, std::int64_t n) {
  float top[kLanes];
  std::int32_t size[kLanes] = {};
  std::fill_n(top, kLanes, x[0]);
  const auto look = [&](std::int64_t l, float v) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(v) & 0x7fffffff;
    top[l] = v > top[l] ? v : top[l];
    size[l] = bits > size[l] ? bits : size[l];
  };
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) look(l, x[i + l]);
  for (; i < n; ++i) look(i % kLanes, x[i]);
  if (*std::max_element(size, size + kLanes) >= 0x7f800000) return INFINITY;
  return *std::max_element(top, top + kLanes);
}

// Logits become weights, exp(scale * (x - top)).  Returns their sum.
float weights_of(float* x, std::int64_t n, float scale, float top) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = exp_below((x[i] - top) * scale);
  float lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) lane[l] += x[i + l];
  for (; i < n; ++i) lane[i % kLanes] += x[i];
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
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
      grid_width_(grid.width),
      value_bytes_(cpu.native ? 2 : 4) {
  fill_angles(c, grid, budget);
  const auto values = static_cast<std::size_t>(patches_ * width_);
  q_ = Buffer<float>(budget, values, Use::kScratch, kWhat);
  k_ = Buffer<std::byte>(budget, values * value_bytes_, Use::kScratch, kWhat);
  v_ = Buffer<std::byte>(budget, values * value_bytes_, Use::kScratch, kWhat);
  scratch_.resize(static_cast<std::size_t>(cpu.pool.size()));
  const auto room = [&](std::int64_t columns) {
    return Buffer<float>(budget, static_cast<std::size_t>(kQueries * columns), Use::kScratch,
                         kWhat);
  };
  for (Scratch& s : scratch_) {
    s.logits = room(kTile);
    s.part = room(dim_);
    s.sum = room(dim_);
    s.top = room(1);
    s.mass = room(1);
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

void ImageAttention::store(Buffer<std::byte>& to, std::int64_t at, float value) {
  std::byte* p = to.data() + static_cast<std::size_t>(at) * value_bytes_;
  if (cpu_.native) {
    const std::uint16_t code = kernels::encode_bf16(value);
    std::memcpy(p, &code, sizeof code);
  } else {
    std::memcpy(p, &value, sizeof value);
  }
}

void ImageAttention::put_patch(std::int64_t patch, float* row) {
  for (std::int64_t at = 0; at < 2 * width_; at += dim_) turn(patch, row + at);
  cpu_.round(row, 2 * width_);
  std::copy_n(row, width_, q_.data() + patch * width_);
  const std::int64_t first = patch / kTile * kTile;
  const std::int64_t tile_width = std::min(kTile, patches_ - first);
  for (std::int64_t h = 0; h < heads_; ++h) {
    const float *key = row + width_ + h * dim_, *value = key + width_;
    const std::int64_t k = (h * patches_ + patch) * dim_;
    const std::int64_t v = (h * patches_ + first) * dim_ + (patch - first);
    for (std::int64_t j = 0; j < dim_; ++j) {
      store(k_, k + j, key[j]);
      store(v_, v + j * tile_width, value[j]);
    }
  }
}

void ImageAttention::put(std::int64_t first, std::int64_t n, float* qkv) {
  cpu_.pool.run(n, element_work(n * 3 * width_), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = qkv + t * 3 * width_;
      if (std::isinf(greatest(row, 3 * width_))) refuse("queries, keys or values");
      put_patch(first + t, row);
    }
  });
}

void ImageAttention::refuse(const char* what) const {
  fail(Code::kFormat, "{}: {} of the image tower are no finite numbers", cpu_.model.path(), what);
}

Weight ImageAttention::matrix(const Buffer<std::byte>& from, std::int64_t at, std::int64_t rows,
                              std::int64_t cols) const {
  Weight w;
  w.format = cpu_.native ? WeightFormat::kBF16 : WeightFormat::kF32;
  w.rows = rows;
  w.cols = cols;
  w.data = from.data() + static_cast<std::size_t>(at) * value_bytes_;
  return w;
}

void ImageAttention::product(const Weight& w, const float* x, std::int64_t x_stride, std::int64_t n,
                             float* y, std::int64_t y_stride, int thread) const {
  kernels::LinearArgs a = product_of(cpu_, w, x, x_stride, n);
  a.y = y;
  a.y_stride = y_stride;
  a.round_bf16 = false;
  a.scratch = cpu_.threads[static_cast<std::size_t>(thread)].linear.data();
  cpu_.product(a);
}

// Queries [first, first + n) of a head.
void ImageAttention::attend_to(std::int64_t head, std::int64_t first, std::int64_t n, int thread) {
  Scratch& s = scratch_[static_cast<std::size_t>(thread)];
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim_)));
  float* q = q_.data() + first * width_ + head * dim_;
  for (std::int64_t k = 0; k < patches_; k += kTile) {
    const std::int64_t keys = std::min(kTile, patches_ - k), at = (head * patches_ + k) * dim_;
    product(matrix(k_, at, keys, dim_), q, width_, n, s.logits.data(), kTile, thread);
    for (std::int64_t i = 0; i < n; ++i) {
      float* logit = s.logits.data() + i * kTile;
      float *top = s.top.data() + i, *mass = s.mass.data() + i, *sum = s.sum.data() + i * dim_;
      float most = greatest(logit, keys);
      if (std::isinf(most)) refuse("logits");
      if (k > 0) most = std::max(most, *top);
      const float keep = k > 0 ? exp_below((*top - most) * scale) : 0.0f;
      *mass = (k > 0 ? *mass * keep : 0.0f) + weights_of(logit, keys, scale, most);
      *top = most;
      for (std::int64_t j = 0; j < dim_; ++j) sum[j] = k > 0 ? sum[j] * keep : 0.0f;
      cpu_.round(logit, keys);
    }
    product(matrix(v_, at, dim_, keys), s.logits.data(), kTile, n, s.part.data(), dim_, thread);
    for (std::int64_t i = 0; i < n * dim_; ++i) s.sum.data()[i] += s.part.data()[i];
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
