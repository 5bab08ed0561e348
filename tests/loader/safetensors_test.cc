// The safetensors header as hostile input: every rule has a file that breaks it.
#include "lib/loader/safetensors.h"

#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"

using namespace v4i;
using namespace v4i::loader;

static std::vector<HeaderEntry> read(const std::string& bytes) {
  return read_header(std::as_bytes(std::span(bytes.data(), bytes.size())), "f.safetensors");
}

static std::string refused(const std::string& header, std::size_t data_bytes) {
  return test::refusal(
      [&] { read(test::safetensors_bytes(header, std::string(data_bytes, '\0'))); });
}

TEST_CASE("a header gives names, dtypes, shapes and places in the file", "[loader]") {
  const std::string header = R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
                             R"("__metadata__":{"format":"pt","note":"\u00e9"},)"
                             R"("a":{"data_offsets":[0,8],"shape":[],"dtype":"I64"},)"
                             R"("none":{"dtype":"F32","shape":[4,0],"data_offsets":[20,20]}}   )";
  const auto all = read(test::safetensors_bytes(header, std::string(20, 'x')));
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "b");
  CHECK(all[0].dtype == DType::kBF16);
  CHECK(all[0].shape == std::vector<std::int64_t>{2, 3});
  CHECK(all[0].begin == 8 + header.size() + 8);
  CHECK(all[0].end == all[0].begin + 12);
  CHECK(all[1].name == "a");
  CHECK(all[1].shape.empty());
  CHECK(all[2].begin == all[2].end);
}

TEST_CASE("every broken header is refused with a sentence that says what is wrong", "[loader]") {
  const struct {
    const char* header;
    std::size_t data;
    const char* sentence;
  } rows[] = {
      {"[]", 0, "does not begin with {"},
      {"", 0, "does not begin with {"},
      {"{", 0, "not JSON at its byte"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} x)", 4, "not JSON"},
      {R"({"a":1})", 0, "tensor a: the header has a number"},
      {R"({"a":[]})", 0, "tensor a: the header has an array"},
      {R"({"a":null})", 0, "has null"},
      {R"({"a":true})", 0, "has a boolean"},
      {R"({"a":"x"})", 0, "has a string"},
      {R"({"__metadata__":{"a":{}}})", 0, "has an object"},
      {R"({"__metadata__":{"a":1}})", 0, "has a number"},
      {R"({"a":{}})", 0, "tensor a: dtype is missing"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape is missing"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets is missing"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
       "dtype is given twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"color":1}})", 4,
       "tensor a: unknown key color"},
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype F33"},
      {R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", 4, "has a number"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "has a number"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "has an array"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative number -1"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "1.5 is not a 64-bit"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}})", 4,
       "18446744073709551616 is not a 64-bit"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4,
       "dimension 9223372036854775808 is too large"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4,
       "has more than 2^63 bytes"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", 4,
       "has more than 2^63 bytes"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
       "more than 8 dimensions"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "lie outside the file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 4,
       "bytes 0..8 lie outside the file's 4 tensor bytes; the download may be incomplete"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551615,3]}})", 4,
       "lie outside"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "tensor a: 4 bytes, expected 8 for F32 [2]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "has 1 numbers, expected 2"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "has 3 numbers"},
      {R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"I8","shape":[4],"data_offsets":[3,7]}})",
       7, "tensor b: its bytes from"},
      {R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
       R"("b":{"dtype":"I8","shape":[1],"data_offsets":[2,3]}})",
       3, "before tensor b belong to no tensor"},
      {R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 5,
       "4 bytes after the last tensor"},
      {"{\"a\xff\":1}", 0, "not JSON"},
  };
  for (const auto& r : rows) {
    CAPTURE(r.header);
    CHECK_THAT(refused(r.header, r.data), Catch::Contains(r.sentence));
    CHECK_THAT(refused(r.header, r.data), Catch::StartsWith("f.safetensors: "));
  }
}

TEST_CASE("a header length beyond the file is refused", "[loader]") {
  CHECK_THAT(test::refusal([] { read("1234567"); }), Catch::Contains("7 bytes, too short"));
  for (const std::uint64_t n : {std::uint64_t{3}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::string bytes(10, '{');
    std::memcpy(bytes.data(), &n, 8);
    CHECK_THAT(test::refusal([&] { read(bytes); }), Catch::Contains("the header claims"));
  }
}

TEST_CASE("a header nested a million deep is refused without recursion", "[loader]") {
  std::string deep = R"({"a":{"dtype":"F32","shape":)" + std::string(1000000, '[');
  CHECK_THAT(refused(deep, 0), Catch::Contains("has an array"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += R"({"a":)";
  CHECK_THAT(refused(objects, 0), Catch::Contains("tensor a"));
}
