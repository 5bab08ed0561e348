// The blocks of the image tower and its aligner, some rows at a time; see vision.h.
#include "lib/forward/cpu/vision.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/ops.h"
#include "lib/base/error.h"
#include "lib/forward/cpu/cpu.h"
#include "lib/forward/cpu/vision_attention.h"

namespace v4i::forward::cpu {

namespace {

constexpr std::int64_t kRows = 256;  // of a product
constexpr float kEps = 1e-6f;        // of norms
constexpr const char* kWhat = "the image tower";

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The most columns of a matrix.
std::int64_t most_columns(const ImageTower& t) {
  return std::max({t.weights.patch.w.cols, t.config.width, t.config.mlp_width,
                   t.weights.align1.w.cols, t.weights.align2.w.cols});
}

Buffer<float> floats(const ImageTower& t, std::int64_t count) {
  return Buffer<float>(t.budget, static_cast<std::size_t>(count), Use::kScratch, kWhat);
}

// What linear.cc needs of each thread: nothing but room for rows of W.
std::vector<ThreadScratch> thread_scratch(const ImageTower& t) {
  std::vector<ThreadScratch> out(static_cast<std::size_t>(t.pool.size()));
  for (ThreadScratch& s : out)
    s.linear = floats(t, kernels::linear_scratch_floats(most_columns(t)));
  return out;
}

Buffer<std::byte> room_for_prepared(const ImageTower& t) {
  const bool used = t.native && t.kernels.prepare != nullptr;
  const std::int64_t bytes = used ? kernels::linear_prepared_bytes(most_columns(t), kRows) : 0;
  return Buffer<std::byte>(t.budget, static_cast<std::size_t>(bytes), Use::kScratch, kWhat);
}

class Encoder {
 public:
  Encoder(const ImageTower& t, const PatchGrid& grid, const CancelFlag* cancel)
      : t_(t),
        c_(t.config),
        grid_(grid),
        cancel_(cancel),
        threads_(thread_scratch(t)),
        prepared_(room_for_prepared(t)),
        cpu_{t.model, t.model.config(), t.kernels,       t.pool, t.native,
             false,   threads_,         prepared_.data()},
        rows_(std::min(kRows, grid.patches())),
        x_(floats(t, grid.patches() * c_.width)) {}

  void encode(const float* patches, float* out) {
    const std::int64_t inputs = t_.weights.patch.w.cols;
    each(grid_.patches(), rows_, [&](std::int64_t first, std::int64_t n) {
      dense(t_.weights.patch, patches + first * inputs, inputs, n, x(first), c_.width);
    });
    blocks();
    each(grid_.patches(), rows_,
         [&](std::int64_t first, std::int64_t n) { norm(x(first), t_.weights.norm, n, x(first)); });
    align(out);
  }

 private:
  float* x(std::int64_t patch) { return x_.data() + patch * c_.width; }

  // Calls body(first, count) for pieces of [0, n) and looks at the cancel flag before each.
  template <class Body>
  void each(std::int64_t n, std::int64_t most, Body&& body) const {
    for (std::int64_t first = 0; first < n; first += most) {
      throw_if_cancelled(cancel_);
      body(first, std::min(most, n - first));
    }
  }

  // y = W x + bias, rounded once.
  void dense(const model::VisionLinear& l, const float* in, std::int64_t in_stride, std::int64_t n,
             float* y, std::int64_t y_stride) const {
    linear(cpu_, l.w, in, in_stride, n, y, y_stride, l.bias.empty());
    if (l.bias.empty()) return;
    on_rows(n, [&](std::int64_t t) {
      float* row = y + t * y_stride;
      for (std::size_t i = 0; i < l.bias.size(); ++i) row[i] += l.bias[i];
      cpu_.round(row, l.w.rows);
    });
  }

  template <class Body>
  void on_rows(std::int64_t n, Body&& body) const {
    t_.pool.run(n, element_work(n * c_.width), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) body(t);
    });
  }

  void norm(const float* in, const std::vector<float>& gain, std::int64_t n, float* y) const {
    on_rows(n, [&](std::int64_t t) {
      kernels::rms_norm(in + t * c_.width, gain.data(), c_.width, kEps, y + t * c_.width);
      cpu_.round(y + t * c_.width, c_.width);
    });
  }

  // x += y
  void add(float* x, const float* y, std::int64_t n) const {
    on_rows(n, [&](std::int64_t t) {
      float* row = x + t * c_.width;
      for (std::int64_t i = 0; i < c_.width; ++i) row[i] += y[t * c_.width + i];
      cpu_.round(row, c_.width);
    });
  }

  void blocks() {
    const std::int64_t wide = std::max(3 * c_.width, 2 * c_.mlp_width);
    Buffer<float> narrow_rows = floats(t_, rows_ * c_.width), wide_rows = floats(t_, rows_ * wide);
    float *a = narrow_rows.data(), *b = wide_rows.data();
    ImageAttention attention(cpu_, c_, grid_, t_.budget);
    for (const model::VisionBlock& block : t_.weights.layers) {
      each(grid_.patches(), rows_, [&](std::int64_t first, std::int64_t n) {
        norm(x(first), block.norm1, n, a);
        dense(block.wqkv, a, c_.width, n, b, 3 * c_.width);
        attention.put(first, n, b);
      });
      attention.attend(cancel_);
      each(grid_.patches(), rows_, [&](std::int64_t first, std::int64_t n) {
        dense(block.wo, attention.rows() + first * c_.width, c_.width, n, a, c_.width);
        add(x(first), a, n);
        norm(x(first), block.norm2, n, a);
        mlp(block, a, n, b);
        add(x(first), a, n);
      });
    }
  }

  // a = W2 (silu(gate) up); both halves of `b` are rounded, and their product.
  void mlp(const model::VisionBlock& block, float* a, std::int64_t n, float* b) const {
    const std::int64_t stride = 2 * c_.mlp_width;
    dense(block.w1, a, c_.width, n, b, stride);
    on_rows(n, [&](std::int64_t t) {
      float *gate = b + t * stride, *up = gate + c_.mlp_width;
      t_.kernels.swiglu({gate, ones_.data(), c_.mlp_width, 0.0f, 1.0f, t_.native});
      for (std::int64_t i = 0; i < c_.mlp_width; ++i) gate[i] *= up[i];
      cpu_.round(gate, c_.mlp_width);
    });
    dense(block.w2, b, stride, n, a, c_.width);
  }

  // The patches of a cell, channel by channel, zeros beyond the right and lower edge.
  void gather(std::int64_t cell, float* to) {
    const std::int64_t r = c_.downsample, columns = ceil_div(grid_.width, r);
    const std::int64_t top = cell / columns * r, left = cell % columns * r;
    for (std::int64_t dy = 0; dy < r; ++dy)
      for (std::int64_t dx = 0; dx < r; ++dx) {
        float* out = to + dy * r + dx;
        const bool inside = top + dy < grid_.height && left + dx < grid_.width;
        const float* in = inside ? x((top + dy) * grid_.width + left + dx) : nullptr;
        for (std::int64_t i = 0; i < c_.width; ++i, out += r * r) *out = inside ? in[i] : 0.0f;
      }
  }

  void align(float* out) {
    const std::int64_t cells = cells_of(c_, grid_), most = std::min(kRows, cells);
    const model::VisionLinear &up = t_.weights.align1, &down = t_.weights.align2;
    Buffer<float> cell_rows = floats(t_, most * up.w.cols), hidden = floats(t_, most * up.w.rows);
    each(cells, most, [&](std::int64_t first, std::int64_t n) {
      on_rows(n, [&](std::int64_t t) { gather(first + t, cell_rows.data() + t * up.w.cols); });
      dense(up, cell_rows.data(), up.w.cols, n, hidden.data(), up.w.rows);
      on_rows(n, [&](std::int64_t t) {
        float* h = hidden.data() + t * up.w.rows;
        for (std::int64_t i = 0; i < up.w.rows; ++i)
          h[i] = static_cast<float>(0.5 * h[i] * (1.0 + std::erf(h[i] / std::sqrt(2.0))));
        cpu_.round(h, up.w.rows);
      });
      dense(down, hidden.data(), up.w.rows, n, out + first * down.w.rows, down.w.rows);
    });
  }

  const ImageTower& t_;
  const model::VisionConfig& c_;
  const PatchGrid grid_;
  const CancelFlag* cancel_;
  std::vector<ThreadScratch> threads_;
  Buffer<std::byte> prepared_;
  const Cpu cpu_;
  const std::int64_t rows_;  // of a product, at most
  Buffer<float> x_;          // [patches, width]
  const std::vector<float> ones_ = std::vector<float>(static_cast<std::size_t>(c_.mlp_width), 1.0f);
};

}  // namespace

std::int64_t cells_of(const model::VisionConfig& config, const PatchGrid& grid) {
  return ceil_div(grid.height, config.downsample) * ceil_div(grid.width, config.downsample);
}

void encode_image(const ImageTower& t, const PatchGrid& grid, const float* patches, float* out,
                  const CancelFlag* cancel) {
  V4I_CHECK(grid.height >= 1 && grid.width >= 1);
  if (!t.weights.present())
    fail(Code::kUnsupported, "{}: this model has no image tower", t.model.path());
  Encoder(t, grid, cancel).encode(patches, out);
  const std::int64_t values = cells_of(t.config, grid) * t.weights.align2.w.rows;
  if (!std::all_of(out, out + values, [](float v) { return std::isfinite(v); }))
    fail(Code::kFormat, "{}: embeddings of the image tower are no finite numbers", t.model.path());
}

}  // namespace v4i::forward::cpu
