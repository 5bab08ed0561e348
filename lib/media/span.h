// Span: the tokens that stand for an image, and whose embedding each of them takes.
//
// V4.1 (all of one id, in reading order):
//   START, (IMAGE x columns, NEWLINE) x rows, END
// Vision-Exp (ids vocab_size + exp_type): rows in pairs, interleaved column by column, so that
// four tokens that are compressed together are a 2 x 2 square; PAD where a row is missing.
//   PAD x (3 - position mod 4), START, pairs of rows, PAD x 0 or 2, END
#pragma once

#include <cstdint>
#include <vector>

#include "lib/media/image_plan.h"

namespace v4i::media {

// The numbers are V4.1's; PAD is Vision-Exp's alone.
enum class Role : std::uint8_t { kStart = 0, kImage = 1, kNewline = 2, kEnd = 3, kPad = 4 };

struct SpanToken {
  Role role = Role::kPad;
  std::int32_t cell = -1;  // of an IMAGE: its row of the aligner's output, in reading order

  bool operator==(const SpanToken&) const = default;
};

std::vector<SpanToken> span_of(const ImagePlan& plan);  // plan.tokens of them
// `position`: of the span's first token, leading pads included.
std::vector<SpanToken> span_of_exp(const ImagePlan& plan, std::int64_t position);

int exp_type(Role role);  // START 0, PAD 1, IMAGE 2, NEWLINE 3, END 4

}  // namespace v4i::media
