// Lays an image's tokens out; see span.h.
#include "lib/media/span.h"

namespace v4i::media {

namespace {

constexpr std::int64_t kGroup = 4;  // tokens that Vision-Exp's layers compress together

// Column `x` of a row of cells, the newline included.
SpanToken token_at(const ImagePlan& plan, std::int64_t row, std::int64_t x) {
  if (row >= plan.rows) return {Role::kPad};
  if (x == plan.columns) return {Role::kNewline};
  return {Role::kImage, static_cast<std::int32_t>(row * plan.columns + x)};
}

}  // namespace

std::vector<SpanToken> span_of(const ImagePlan& plan) {
  std::vector<SpanToken> out;
  out.reserve(static_cast<std::size_t>(plan.tokens));
  out.push_back({Role::kStart});
  for (std::int64_t row = 0; row < plan.rows; ++row)
    for (std::int64_t x = 0; x <= plan.columns; ++x) out.push_back(token_at(plan, row, x));
  out.push_back({Role::kEnd});
  return out;
}

std::vector<SpanToken> span_of_exp(const ImagePlan& plan, std::int64_t position) {
  std::vector<SpanToken> out;
  out.reserve(static_cast<std::size_t>(plan.tokens + kGroup - 1));
  out.resize(static_cast<std::size_t>(kGroup - 1 - position % kGroup));
  out.push_back({Role::kStart});
  const std::int64_t pairs = (plan.rows + 1) / 2, width = plan.columns + 1;
  for (std::int64_t pair = 0; pair < pairs; ++pair)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t row : {2 * pair, 2 * pair + 1}) out.push_back(token_at(plan, row, x));
  if (pairs * width % 2 != 0) out.resize(out.size() + 2);
  out.push_back({Role::kEnd});
  return out;
}

int exp_type(Role role) {
  switch (role) {
    case Role::kStart:
      return 0;
    case Role::kPad:
      return 1;
    case Role::kImage:
      return 2;
    case Role::kNewline:
      return 3;
    case Role::kEnd:
      break;
  }
  return 4;
}

}  // namespace v4i::media
