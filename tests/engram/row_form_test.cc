// Rows become the numbers that they say, bit for bit, and what is no number is found.
#include "lib/engram/row_form.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i;
using engram::Part;
using engram::RowForm;

namespace {

double value_of(int code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const double v =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return code >= 128 ? -v : v;
}

struct Raw {
  explicit Raw(std::size_t columns) : codes(columns), scales(columns / 32) {}
  std::vector<std::byte> codes, scales;
};

}  // namespace

TEST_CASE("every code with every scale is its exact value, also where subnormals are flushed",
          "[engram]") {
  const RowForm form(256);
  for (const bool flush : {false, true})
    for (int scale = 0; scale < 255; ++scale) {
      Raw raw(256);
      std::vector<float> want(256), got(256, -1);
      for (int code = 0; code < 256; ++code) {
        const double v = std::ldexp(value_of(code), scale - 127);
        const bool number =
            (code & 0x7f) != 0x7f && std::abs(v) <= std::numeric_limits<float>::max();
        raw.codes[std::size_t(code)] = static_cast<std::byte>(number ? code : 0);
        want[std::size_t(code)] = static_cast<float>(number ? v : 0);
      }
      std::memset(raw.scales.data(), scale, raw.scales.size());
      REQUIRE_FALSE(form.defect(raw.codes.data(), raw.scales.data()).found);
      {
        const test::FlushToZero mode(flush);
        form.dequantise(raw.codes.data(), raw.scales.data(), got.data());
      }
      CAPTURE(scale, flush);
      REQUIRE(std::memcmp(got.data(), want.data(), 256 * sizeof(float)) == 0);
    }
}

TEST_CASE("a scale counts for its 32 columns", "[engram]") {
  const RowForm form(96);
  CHECK(form.bytes() == 99);
  CHECK(form.begin(Part::kScales) == 96);
  Raw raw(96);
  std::vector<float> got(96);
  for (std::size_t i = 0; i < 96; ++i) raw.codes[i] = std::byte{0x38};  // 1
  for (std::size_t g = 0; g < 3; ++g) raw.scales[g] = static_cast<std::byte>(127 + g);
  form.dequantise(raw.codes.data(), raw.scales.data(), got.data());
  for (std::size_t i = 0; i < 96; ++i) CHECK(got[i] == std::ldexp(1.0f, static_cast<int>(i / 32)));
}

TEST_CASE("what is no number is found, wherever it is", "[engram]") {
  const RowForm form(256);
  for (const std::uint8_t code : {0x7f, 0xff})
    for (std::size_t at = 0; at < 256; ++at) {
      Raw raw(256);
      raw.codes[at] = static_cast<std::byte>(code);
      const RowForm::Defect d = form.defect(raw.codes.data(), raw.scales.data());
      REQUIRE((d.found && d.part == Part::kCodes && d.at == at && d.code == code));
    }
  for (std::size_t at = 0; at < 8; ++at) {
    Raw raw(256);
    raw.scales[at] = std::byte{0xff};
    const RowForm::Defect d = form.defect(raw.codes.data(), raw.scales.data());
    REQUIRE((d.found && d.part == Part::kScales && d.at == at && d.code == 0xff));
  }
}

TEST_CASE("a scale that makes infinity of a value is found, and of no other", "[engram]") {
  const RowForm form(32);
  for (int scale = 240; scale < 255; ++scale)
    for (int code = 0; code < 0x7f; ++code) {
      Raw raw(32);
      raw.codes[31] = static_cast<std::byte>(code);
      raw.scales[0] = static_cast<std::byte>(scale);
      const bool large =
          std::ldexp(value_of(code), scale - 127) > std::numeric_limits<float>::max();
      REQUIRE(form.defect(raw.codes.data(), raw.scales.data()).found == large);
    }
}
