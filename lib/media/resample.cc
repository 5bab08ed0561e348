// Two passes of fixed-point weights, columns first; see resample.h.
#include "lib/media/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/base/error.h"

namespace v4i::media {

namespace {

constexpr int kFraction = 22;  // bits of a weight behind the point
constexpr double kSupport = 2.0;
constexpr const char* kWhat = "resizing an image";

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// Output i of one direction is a sum over inputs [first, first + count).
struct Taps {
  std::int64_t first = 0, count = 0;
};

// What an output of one direction is made of.
class Axis {
 public:
  Axis(std::int64_t in, std::int64_t out)
      : in_(in),
        scale_(static_cast<double>(in) / static_cast<double>(out)),
        stretch_(std::max(scale_, 1.0)) {}

  // The most inputs of an output.
  std::int64_t most_taps() const {
    return std::min(in_, static_cast<std::int64_t>(std::ceil(kSupport * stretch_)) * 2 + 1);
  }

  Taps taps(std::int64_t i) const {
    const double at = centre(i), reach = kSupport * stretch_;
    const auto first = static_cast<std::int64_t>(at - reach + 0.5);
    const auto end = static_cast<std::int64_t>(at + reach + 0.5);
    const std::int64_t begin = std::max<std::int64_t>(first, 0);
    return {begin, std::min(end, in_) - begin};
  }

  // Weights of taps(i); `room` and `out` hold most_taps().
  void weights(std::int64_t i, const Taps& t, double* room, std::int32_t* out) const {
    const double at = centre(i);
    double sum = 0;
    for (std::int64_t k = 0; k < t.count; ++k) {
      room[k] = cubic((static_cast<double>(k + t.first) - at + 0.5) * (1.0 / stretch_));
      sum += room[k];
    }
    for (std::int64_t k = 0; k < t.count; ++k) {
      const double w = (sum != 0.0 ? room[k] / sum : room[k]) * (1 << kFraction);
      out[k] = static_cast<std::int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
  }

 private:
  double centre(std::int64_t i) const { return (static_cast<double>(i) + 0.5) * scale_; }

  const std::int64_t in_;
  const double scale_, stretch_;
};

constexpr std::int32_t kHalf = 1 << (kFraction - 1);

std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFraction, 0, 255));
}

// Rows of the image at their new width.
class Columns {
 public:
  Columns(const Pixels& in, std::int64_t width, Budget& budget) : in_(in), width_(width) {
    if (width == in.width) return;
    const Axis axis(in.width, width);
    most_ = axis.most_taps();
    taps_ = Buffer<Taps>(budget, static_cast<std::size_t>(width), Use::kScratch, kWhat);
    weights_ =
        Buffer<std::int32_t>(budget, static_cast<std::size_t>(width * most_), Use::kScratch, kWhat);
    Buffer<double> room(budget, static_cast<std::size_t>(most_), Use::kScratch, kWhat);
    for (std::int64_t x = 0; x < width; ++x) {
      Taps& t = taps_[static_cast<std::size_t>(x)] = axis.taps(x);
      axis.weights(x, t, room.data(), weights_.data() + x * most_);
    }
  }

  void row(std::int64_t y, std::uint8_t* out) const {
    const std::uint8_t* in = in_.data + y * in_.stride;
    if (most_ == 0) return copy(in, out);
    const int channels = in_.channels;
    for (std::int64_t x = 0; x < width_; ++x, out += 3) {
      const Taps& t = taps_[static_cast<std::size_t>(x)];
      const std::int32_t* w = weights_.data() + x * most_;
      const std::uint8_t* p = in + t.first * channels;
      std::int32_t r = kHalf, g = kHalf, b = kHalf;
      for (std::int64_t k = 0; k < t.count; ++k, p += channels) {
        r += p[0] * w[k];
        g += p[1] * w[k];
        b += p[2] * w[k];
      }
      out[0] = to_byte(r);
      out[1] = to_byte(g);
      out[2] = to_byte(b);
    }
  }

 private:
  void copy(const std::uint8_t* in, std::uint8_t* out) const {
    if (in_.channels == 3) {
      std::memcpy(out, in, static_cast<std::size_t>(3 * width_));
      return;
    }
    for (std::int64_t x = 0; x < width_; ++x, in += in_.channels, out += 3) std::memcpy(out, in, 3);
  }

  const Pixels& in_;
  const std::int64_t width_;
  std::int64_t most_ = 0;  // weights of an output; 0: the width stays
  Buffer<Taps> taps_;
  Buffer<std::int32_t> weights_;
};

// Rows [made - slots, made) of `columns`, made once each, in order.
class RowRing {
 public:
  RowRing(const Columns& columns, std::int64_t row_bytes, std::int64_t slots, Budget& budget)
      : columns_(columns),
        row_bytes_(row_bytes),
        slots_(slots),
        rows_(budget, static_cast<std::size_t>(row_bytes * slots), Use::kScratch, kWhat) {}

  // Makes room for rows [begin, end) by making those that are missing.
  void reach(std::int64_t begin, std::int64_t end) {
    made_ = std::max(made_, begin);
    for (; made_ < end; ++made_) columns_.row(made_, slot(made_));
  }
  const std::uint8_t* row(std::int64_t y) const { return rows_.data() + y % slots_ * row_bytes_; }

 private:
  std::uint8_t* slot(std::int64_t y) { return rows_.data() + y % slots_ * row_bytes_; }

  const Columns& columns_;
  const std::int64_t row_bytes_, slots_;
  std::int64_t made_ = 0;
  Buffer<std::uint8_t> rows_;
};

}  // namespace

void check_pixels(const Pixels& p) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  if (p.data == nullptr) fail(Code::kInvalid, "the pixels of an image are null");
  if (p.channels != 3 && p.channels != 4)
    fail(Code::kInvalid, "an image has {} channels, expected 3 (RGB) or 4 (RGBA)", p.channels);
  if (p.width < 1 || p.height < 1)
    fail(Code::kInvalid, "an image is {} x {} pixels, expected at least 1 x 1", p.width, p.height);
  if (p.width > kMost / 4 || p.stride < p.width * p.channels || p.stride > kMost / p.height)
    fail(Code::kInvalid, "the rows of an image are {} bytes apart, expected at least {} x {}",
         p.stride, p.width, p.channels);
}

void resize_bicubic(const Pixels& in, std::int64_t out_width, std::int64_t out_height,
                    std::uint8_t* out, std::int64_t out_stride, Budget& budget) {
  check_pixels(in);
  V4I_CHECK(out_width >= 1 && out_height >= 1 && out_stride >= 3 * out_width);
  const Columns columns(in, out_width, budget);
  if (out_height == in.height) {
    for (std::int64_t y = 0; y < out_height; ++y) columns.row(y, out + y * out_stride);
    return;
  }
  const Axis axis(in.height, out_height);
  const std::int64_t most = axis.most_taps(), bytes = 3 * out_width;
  RowRing ring(columns, bytes, most, budget);
  Buffer<double> room(budget, static_cast<std::size_t>(most), Use::kScratch, kWhat);
  Buffer<std::int32_t> weights(budget, static_cast<std::size_t>(most), Use::kScratch, kWhat);
  Buffer<std::int32_t> sums(budget, static_cast<std::size_t>(bytes), Use::kScratch, kWhat);
  for (std::int64_t y = 0; y < out_height; ++y) {
    const Taps t = axis.taps(y);
    axis.weights(y, t, room.data(), weights.data());
    ring.reach(t.first, t.first + t.count);
    std::fill(sums.begin(), sums.end(), kHalf);
    for (std::int64_t k = 0; k < t.count; ++k) {
      const std::uint8_t* row = ring.row(t.first + k);
      const std::int32_t w = weights[static_cast<std::size_t>(k)];
      for (std::int64_t i = 0; i < bytes; ++i) sums[static_cast<std::size_t>(i)] += row[i] * w;
    }
    std::transform(sums.begin(), sums.end(), out + y * out_stride, to_byte);
  }
}

}  // namespace v4i::media
