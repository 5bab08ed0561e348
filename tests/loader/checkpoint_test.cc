// Checkpoint: shards, index, folder and single file; what disagrees is refused.
#include "lib/loader/checkpoint.h"

#include <filesystem>

#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using namespace v4i::loader;
using test::StFile;
using test::TempDir;

static test::StTensor bytes_tensor(const std::string& bytes) {
  return {"I8", {static_cast<std::int64_t>(bytes.size())}, bytes};
}

static const StFile kFirst = {{"layers.0.a", bytes_tensor("abc")}, {"z", bytes_tensor("zz")}};
static const StFile kSecond = {{"model.layers.1.self_attn.b", bytes_tensor("def")}};

static void write_two_shards(const TempDir& d) {
  test::write_safetensors(d.file("x-1.safetensors"), kFirst);
  test::write_safetensors(d.file("x-2.safetensors"), kSecond);
}

static void index_two_shards(const TempDir& d) {
  test::write_index(d.path(), {{"x-1.safetensors", kFirst}, {"x-2.safetensors", kSecond}});
}

static void replace_in_index(const TempDir& d, const std::string& from, const std::string& to) {
  const std::string path = d.file("model.safetensors.index.json");
  std::string text = test::read_file(path);
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  test::write_file(path, text.replace(at, from.size(), to));
}

static std::string open_refusal(const std::string& path) {
  return test::refusal([&] { Checkpoint::open(path); });
}

static void check_content(const Checkpoint& c, std::size_t shards) {
  CHECK(c.shard_count() == shards);
  REQUIRE(c.tensors().size() == 3);
  CHECK(c.tensor_bytes() == 8);
  const TensorInfo& b = c.tensors()[static_cast<std::size_t>(c.find("layers.1.attn.b"))];
  CHECK(std::string(c.view(b).as<char>(), 3) == "def");
  CHECK(c.shard_path(b).ends_with("x-2.safetensors"));
  CHECK(c.find("layers.1.attn.c") == -1);
  CHECK(c.find("") == -1);
}

TEST_CASE("shards are one directory, with an index and without", "[loader]") {
  const TempDir d;
  write_two_shards(d);
  check_content(*Checkpoint::open(d.path()), 2);
  index_two_shards(d);
  check_content(*Checkpoint::open(d.path()), 2);
  CHECK(Checkpoint::open(d.path() + "/")->folder() == d.path() + "/");
}

TEST_CASE("a single file is a checkpoint", "[loader]") {
  const TempDir d;
  write_two_shards(d);
  const auto c = Checkpoint::open(d.file("x-1.safetensors"));
  CHECK(c->tensors().size() == 2);
  CHECK(c->folder() == d.path());
  test::write_safetensors(d.file("model.safetensors"), kSecond);
  CHECK(Checkpoint::open(d.path())->tensors().size() == 1);  // the well-known name wins
}

TEST_CASE("an index that disagrees with its shards is refused", "[loader]") {
  const TempDir d;
  write_two_shards(d);
  index_two_shards(d);
  SECTION("a shard is missing") {
    std::filesystem::remove(d.file("x-2.safetensors"));
    CHECK_THAT(open_refusal(d.path()), Catch::Contains("shard x-2.safetensors is missing"));
    CHECK(test::refusal_code([&] { Checkpoint::open(d.path()); }) == Code::kIo);
  }
  SECTION("a tensor is not in its shard") {
    replace_in_index(d, "layers.0.a", "layers.0.q");
    CHECK_THAT(open_refusal(d.path()), Catch::Contains("tensor layers.0.a lies here") ||
                                           Catch::Contains("tensor layers.0.q is missing"));
  }
  SECTION("the index names a tensor that no shard has") {
    replace_in_index(d, "\"weight_map\":{", "\"weight_map\":{\"new\":\"x-1.safetensors\",");
    CHECK_THAT(open_refusal(d.path()),
               Catch::Contains("x-1.safetensors: tensor new is missing, though the index says"));
  }
  SECTION("the index leaves a tensor out") {
    replace_in_index(d, "\"z\":\"x-1.safetensors\"", "\"layers.0.a\":\"x-1.safetensors\"");
    CHECK_THAT(open_refusal(d.path()), Catch::Contains("names tensor layers.0.a twice"));
    index_two_shards(d);
    replace_in_index(d, ",\"z\":\"x-1.safetensors\"", "");
    CHECK_THAT(open_refusal(d.path()),
               Catch::Contains("tensor z lies here, though the index does not name it"));
  }
  SECTION("the index names another shard") {
    replace_in_index(d, "\"z\":\"x-1.safetensors\"", "\"z\":\"x-2.safetensors\"");
    CHECK_THAT(open_refusal(d.path()),
               Catch::Contains("x-1.safetensors: tensor z lies here, though the index says it "
                               "lies in x-2.safetensors"));
  }
}

TEST_CASE("an index cannot lead out of the folder or be nonsense", "[loader]") {
  const TempDir d;
  const struct {
    const char *index, *sentence;
  } rows[] = {
      {R"({"weight_map":{"a":"../x.safetensors"}})", "expected a plain file name"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "expected a plain file name"},
      {R"({"weight_map":{"a":""}})", "expected a plain file name"},
      {R"({"weight_map":{"a":"x\u0000y"}})", "expected a plain file name"},
      {R"({"weight_map":{"a":1}})", "tensor a has a number, expected a file name"},
      {R"({"weight_map":{"a":{}}})", "tensor a has an object, expected a file name"},
      {R"({"weight_map":{"a":["x"]}})", "tensor a has an array, expected a file name"},
      {R"({"weight_map":[]})", "found an array, expected an object with weight_map"},
      {R"({"weight_map":1})", "found a number"},
      {R"({"metadata":{"weight_map":{"a":"x"}}})", "weight_map is missing"},
      {R"({"weight_map":{},"weight_map":{}})", "weight_map is given twice"},
      {R"([1])", "found an array"},
      {R"("x")", "found a string"},
      {"", "not JSON at byte"},
      {R"({"weight_map":{"a":"b"})", "not JSON at byte"},
  };
  for (const auto& r : rows) {
    CAPTURE(r.index);
    test::write_file(d.file("model.safetensors.index.json"), r.index);
    CHECK_THAT(open_refusal(d.path()), Catch::Contains(r.sentence));
  }
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += R"({"a":)";
  test::write_file(d.file("model.safetensors.index.json"), deep);
  CHECK_THAT(open_refusal(d.path()), Catch::Contains("nested deeper than 32 levels"));
}

TEST_CASE("two tensors under one official name are refused", "[loader]") {
  const TempDir d;
  test::write_safetensors(d.file("model.safetensors"), {{"layers.0.self_attn.x", bytes_tensor("a")},
                                                        {"layers.0.attn.x", bytes_tensor("b")}});
  CHECK_THAT(open_refusal(d.path()), Catch::Contains("tensor layers.0.attn.x is given twice"));
}

TEST_CASE("what is not there is an I/O error that names the path", "[loader]") {
  const TempDir d;
  for (const std::string& path : {d.path(), d.file("nothing"), std::string()}) {
    CAPTURE(path);
    CHECK_THAT(open_refusal(path), Catch::StartsWith(path + ": no "));
    CHECK(test::refusal_code([&] { Checkpoint::open(path); }) == Code::kIo);
  }
}
