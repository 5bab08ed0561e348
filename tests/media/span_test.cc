// The tokens of an image: how many, in which order, and whose embedding they take.
#include "lib/media/span.h"

#include <algorithm>
#include <string>

#include "tests/media/draw.h"
#include "tests/support/catch.h"

using namespace v4i::media;

namespace {

ImagePlan grid(std::int64_t columns, std::int64_t rows, bool exp) {
  const std::int64_t odd = exp && rows % 2 != 0 ? columns + 1 : 0;
  ImagePlan p;
  p.columns = columns;
  p.rows = rows;
  p.tokens = rows * (columns + 1) + 2 + odd;
  if (exp && (rows + 1) / 2 * (columns + 1) % 2 != 0) p.tokens += 2;
  return p;
}

// S, N, E, P, and a digit or letter for each cell.
std::string text(const std::vector<SpanToken>& span) {
  std::string out;
  for (const SpanToken& t : span)
    out +=
        t.role == Role::kImage ? "0123456789abcdefghij"[t.cell] : "SINEP"[static_cast<int>(t.role)];
  return out;
}

}  // namespace

TEST_CASE("V4.1's spans are in reading order", "[media][span]") {
  CHECK(text(span_of(grid(1, 1, false))) == "S0NE");
  CHECK(text(span_of(grid(3, 1, false))) == "S012NE");
  CHECK(text(span_of(grid(1, 3, false))) == "S0N1N2NE");
  CHECK(text(span_of(grid(2, 3, false))) == "S01N23N45NE");
  CHECK(text(span_of(grid(3, 2, false))) == "S012N345NE");
}

TEST_CASE("roles have the numbers of both models", "[media][span]") {
  const Role all[] = {Role::kStart, Role::kImage, Role::kNewline, Role::kEnd, Role::kPad};
  for (int i = 0; i < 5; ++i) CHECK(static_cast<int>(all[i]) == i);
  CHECK(exp_type(Role::kStart) == 0);
  CHECK(exp_type(Role::kPad) == 1);
  CHECK(exp_type(Role::kImage) == 2);
  CHECK(exp_type(Role::kNewline) == 3);
  CHECK(exp_type(Role::kEnd) == 4);
}

TEST_CASE("Vision-Exp's spans interleave pairs of rows", "[media][span]") {
  CHECK(text(span_of_exp(grid(1, 2, true), 3)) == "S01NNE");
  CHECK(text(span_of_exp(grid(2, 2, true), 3)) == "S0213NNPPE");
  CHECK(text(span_of_exp(grid(1, 1, true), 3)) == "S0PNPE");
  CHECK(text(span_of_exp(grid(2, 1, true), 3)) == "S0P1PNPPPE");
  CHECK(text(span_of_exp(grid(1, 3, true), 3)) == "S01NN2PNPE");
  CHECK(text(span_of_exp(grid(2, 4, true), 3)) == "S0213NN4657NNE");
  CHECK(text(span_of_exp(grid(1, 2, true), 0)) == "PPPS01NNE");
  CHECK(text(span_of_exp(grid(1, 2, true), 9)) == "PPS01NNE");
  CHECK(text(span_of_exp(grid(1, 2, true), 1000002)) == "PS01NNE");
}

TEST_CASE("a span has as many tokens as its plan says, every cell once", "[media][span]") {
  Sizes sizes(3);
  for (int i = 0; i < 500; ++i) {
    const auto [w, h] = sizes.next();
    if (w > 1000 * h || h > 1000 * w) continue;  // nothing of it may be left
    CAPTURE(w, h);
    for (const bool exp : {false, true}) {
      const ImagePlan p = exp ? plan_image_exp(w, h, kExpLimits) : plan_image(w, h, {});
      const std::vector<SpanToken> span = exp ? span_of_exp(p, w) : span_of(p);
      const auto start = std::find(span.begin(), span.end(), SpanToken{Role::kStart});
      REQUIRE(span.end() - start == p.tokens);
      std::vector<int> seen(static_cast<std::size_t>(p.cells()));
      for (const SpanToken& t : span)
        if (t.role == Role::kImage) ++seen.at(static_cast<std::size_t>(t.cell));
      CHECK(std::count(seen.begin(), seen.end(), 1) == p.cells());
      if (!exp) continue;
      CHECK((w + (start - span.begin())) % 4 == 3);
      CHECK((w + static_cast<std::int64_t>(span.size())) % 4 == 1);  // END opens a group
    }
  }
}
