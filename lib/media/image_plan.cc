// The size planners of V4.1 and of Vision-Exp; see image_plan.h.
#include "lib/media/image_plan.h"

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"

namespace v4i::media {

namespace {

constexpr std::int64_t kFewestTokens = 16;  // below, a budget may have no solution
constexpr std::int64_t kExpLeadPads = 3;    // positions that Vision-Exp keeps for them
// Of limits, so that no product of theirs leaves 64 bits.
constexpr std::int64_t kMostTokens = 1 << 24, kMostCell = 1 << 16;
constexpr std::int64_t kMostPixels = std::int64_t{1} << 32;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t round_half_even(double x) {
  const double down = std::floor(x), rest = x - down;
  const auto n = static_cast<std::int64_t>(down);
  return rest > 0.5 || (rest == 0.5 && n % 2 != 0) ? n + 1 : n;
}

// Pixels; whole numbers but where a ratio that is none squeezed the width.
struct Size {
  double width = 0, height = 0;
};

struct Box {
  std::int64_t width = 0, height = 0;
};

class Planner {
 public:
  Planner(std::int64_t width, std::int64_t height, const ImageLimits& limits, bool exp)
      : width_(width), height_(height), l_(limits), exp_(exp) {}

  ImagePlan plan() const {
    check();
    const Size wanted = enlarged();
    Box box = {whole_patches(wanted.width), whole_patches(wanted.height)};
    const std::int64_t most = exp_ ? l_.max_tokens - kExpLeadPads : l_.max_tokens;
    for (std::int64_t budget = most; laid_out(box).tokens > most; --budget) {
      if (budget < kFewestTokens) refuse_tokens();
      box = exp_ ? solve_pairs(wanted, budget) : solve(wanted, budget);
    }
    if (box.width < l_.patch || box.height < l_.patch) refuse_tokens();
    if (box.width > l_.max_pixels / box.height)
      fail(Code::kInvalid,
           "an image of {} x {} pixels would be resized to {} x {}, expected at most {} pixels",
           width_, height_, box.width, box.height, l_.max_pixels);
    ImagePlan p = laid_out(box);
    fit(p);
    return p;
  }

 private:
  void check() const {
    const bool cells =
        l_.patch >= 1 && l_.merge >= 1 && l_.patch <= kMostCell && l_.merge <= kMostCell / l_.patch;
    const bool tokens =
        l_.max_tokens >= kFewestTokens + kExpLeadPads && l_.max_tokens <= kMostTokens;
    const bool pixels =
        l_.min_pixels >= 0 && l_.min_pixels <= l_.max_pixels && l_.max_pixels <= kMostPixels;
    if (!cells || !tokens || !pixels || !(l_.max_wh_ratio >= 0))
      fail(Code::kInvalid,
           "an image tower has patches of {} pixels, cells of {} patches, {} to {} pixels and {} "
           "tokens at most, ratio {}; expected cells of 1 to {} pixels, rising limits up to {} "
           "pixels, {} to {} tokens, a ratio of at least 0",
           l_.patch, l_.merge, l_.min_pixels, l_.max_pixels, l_.max_tokens, l_.max_wh_ratio,
           kMostCell, kMostPixels, kFewestTokens + kExpLeadPads, kMostTokens);
    if (width_ < 1 || height_ < 1)
      fail(Code::kInvalid, "an image is {} x {} pixels, expected at least 1 x 1", width_, height_);
    if (width_ > l_.max_pixels / height_)
      fail(Code::kInvalid, "an image is {} x {} pixels, expected at most {} in all", width_,
           height_, l_.max_pixels);
  }

  [[noreturn]] void refuse_tokens() const {
    fail(Code::kInvalid, "an image of {} x {} pixels fits no grid of at most {} tokens", width_,
         height_, l_.max_tokens);
  }

  Size enlarged() const {
    Size s = {static_cast<double>(width_), static_cast<double>(height_)};
    if (l_.max_wh_ratio > 0 && s.width > s.height * l_.max_wh_ratio)
      s.width = s.height * l_.max_wh_ratio;
    const double pixels = s.width * s.height, least = static_cast<double>(l_.min_pixels);
    if (pixels >= least) return s;
    const double scale = std::sqrt(least / pixels);
    return {std::floor(s.width * scale), std::floor(s.height * scale)};
  }

  std::int64_t whole_patches(double pixels) const {
    return static_cast<std::int64_t>(std::ceil(pixels / static_cast<double>(l_.patch))) * l_.patch;
  }

  // Patches, cells and tokens of a box.
  ImagePlan laid_out(const Box& box) const {
    ImagePlan p;
    p.width = width_;
    p.height = height_;
    p.box_width = box.width;
    p.box_height = box.height;
    p.patch = l_.patch;
    p.merge = l_.merge;
    p.grid_width = box.width / l_.patch;
    p.grid_height = box.height / l_.patch;
    p.columns = ceil_div(p.grid_width, l_.merge);
    p.rows = ceil_div(p.grid_height, l_.merge);
    p.tokens = p.rows * (p.columns + 1) + 2;
    if (exp_ && p.rows % 2 != 0) p.tokens += p.columns + 1;
    if (exp_ && (p.rows + 1) / 2 * (p.columns + 1) % 2 != 0) p.tokens += 2;
    return p;
  }

  // Columns of cells, as many as the budget has with the image's shape; rows are `slope` times it.
  static double most_columns(double slope, std::int64_t budget) {
    return std::sqrt(static_cast<double>(budget - 2) / slope + 0.25) - 0.5;
  }

  // The greatest box of the image's shape inside `columns` x `rows` cells.
  Box inside(const Size& s, std::int64_t columns, std::int64_t rows) const {
    const double scale = std::min(static_cast<double>(columns * cell()) / s.width,
                                  static_cast<double>(rows * cell()) / s.height);
    const auto whole = [&](double pixels) {
      const double patches = std::floor(pixels * scale / static_cast<double>(l_.patch));
      return static_cast<std::int64_t>(patches) * l_.patch;
    };
    return {whole(s.width), whole(s.height)};
  }

  Box solve(const Size& s, std::int64_t budget) const {
    const double slope = s.height / s.width;
    const double columns = most_columns(slope, budget), rows = columns * slope;
    if (columns < 1) return {cell(), (budget - 2) / 2 * cell()};
    if (rows < 1) return {(budget - 3) * cell(), cell()};
    return inside(s, static_cast<std::int64_t>(columns), static_cast<std::int64_t>(rows));
  }

  Box solve_pairs(const Size& s, std::int64_t budget) const {
    const auto even = [](std::int64_t n) { return n - n % 2; };
    const double slope = s.height / s.width;
    const double columns = most_columns(slope, budget), rows = columns * slope;
    if (columns < 1) return {cell(), even((budget - 2) / 2) * cell()};
    if (rows < 2) return {((budget - 2) / 2 - 1) * cell(), 2 * cell()};
    return inside(s, static_cast<std::int64_t>(columns), even(static_cast<std::int64_t>(rows)));
  }

  // Where the image lies in its box: as Pillow's ImageOps.pad has it, or all of it where the
  // width is squeezed.
  void fit(ImagePlan& p) const {
    p.fit_width = p.box_width;
    p.fit_height = p.box_height;
    const auto w = static_cast<double>(width_), h = static_cast<double>(height_);
    if (l_.max_wh_ratio > 0 && w >= l_.max_wh_ratio * h) return;
    const auto box_w = static_cast<double>(p.box_width), box_h = static_cast<double>(p.box_height);
    if (w / h > box_w / box_h)
      p.fit_height = round_half_even(h / w * box_w);
    else if (w / h < box_w / box_h)
      p.fit_width = round_half_even(w / h * box_h);
    if (p.fit_width < 1 || p.fit_height < 1)
      fail(Code::kInvalid,
           "an image of {} x {} pixels is so narrow that nothing of it is left in its box of "
           "{} x {}",
           width_, height_, p.box_width, p.box_height);
    if (p.fit_width != p.box_width)
      p.fit_x = round_half_even(static_cast<double>(p.box_width - p.fit_width) * 0.5);
    else
      p.fit_y = round_half_even(static_cast<double>(p.box_height - p.fit_height) * 0.5);
  }

  std::int64_t cell() const { return l_.patch * l_.merge; }

  const std::int64_t width_, height_;
  const ImageLimits& l_;
  const bool exp_;
};

}  // namespace

ImagePlan plan_image(std::int64_t width, std::int64_t height, const ImageLimits& limits) {
  return Planner(width, height, limits, false).plan();
}

ImagePlan plan_image_exp(std::int64_t width, std::int64_t height, const ImageLimits& limits) {
  return Planner(width, height, limits, true).plan();
}

}  // namespace v4i::media
