// A class map is taken as it is or refused with a sentence.
#include "lib/engram/class_map.h"

#include <random>

#include "tests/engram/configs.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using engram::ClassMap;

namespace {

model::Config small_config() {
  model::Config c;
  c.vocab = 5;
  c.engram = test::tiny_engram();
  c.engram.classes = 3;
  return c;
}

std::string read(const std::string& text) {
  const test::TempDir dir;
  test::write_file(dir.file("engram_token_map.json"), text);
  const std::string said =
      test::refusal([&] { static_cast<void>(ClassMap::from_file(dir.path(), small_config())); });
  const std::string name = dir.file("engram_token_map.json") + ": ";
  return said.rfind(name, 0) == 0 ? said.substr(name.size()) : said;
}

}  // namespace

TEST_CASE("a map beside config.json is read", "[engram]") {
  const test::TempDir dir;
  CHECK_FALSE(ClassMap::has_file(dir.path()));
  test::write_file(dir.file("engram_token_map.json"), " [0, 1,\n1 ,2,0]\n");
  CHECK(ClassMap::has_file(dir.path()));
  const ClassMap map = ClassMap::from_file(dir.path(), small_config());
  CHECK(map.ids() == 5);
  CHECK(map.count() == 3);
  CHECK(map.of(3) == 2);
  CHECK(map.pad() == 1);  // the class of id 2
}

TEST_CASE("a map that does not fit is refused with what was found and wanted", "[engram]") {
  CHECK(read("[0, 1, 2, 0]") == "has classes of 4 token ids, expected vocab_size 5");
  CHECK(read("[0, 1, 2, 0, 1, 2]") == "has classes of 6 token ids, expected vocab_size 5");
  CHECK(read("[0, 1, 3, 0, 1]") ==
        "token id 2 has class 3, expected 0 to 2: engram_compressed_vocab_size is 3");
  CHECK(read("[0, 1, -1, 0, 1]") ==
        "token id 2 has class -1, expected 0 to 2: engram_compressed_vocab_size is 3");
  CHECK(read("[0, 1, 1, 0, 1]") ==
        "has 2 different classes, expected engram_compressed_vocab_size 3");
  CHECK(read("[]") == "has classes of 0 token ids, expected vocab_size 5");
}

TEST_CASE("a file that is no list of integers is refused with the byte", "[engram]") {
  CHECK(read("") == "found the end at byte 0, expected the beginning of a list of classes");
  CHECK(read("{}") == "found '{' at byte 0, expected the beginning of a list of classes");
  CHECK(read("[0, 1") == "found the end at byte 5, expected ',' or ']'");
  CHECK(read("[0, 1.5]") == "found '.' at byte 5, expected ',' or ']'");
  CHECK(read("[0,]") == "found ']' at byte 3, expected a class, an integer of 32 bits");
  CHECK(read("[[0]]") == "found '[' at byte 1, expected a class, an integer of 32 bits");
  CHECK(read("[4294967296]") == "found '4' at byte 1, expected a class, an integer of 32 bits");
  CHECK(read("[0, 1, 1, 2, 0] x") == "found 'x' at byte 16, expected the end of the file");
  CHECK(read("\xff") == "found byte 0xff at byte 0, expected the beginning of a list of classes");
}

TEST_CASE("a thousand damaged maps are refused or good", "[engram]") {
  const std::string good = "[0, 1, 1, 2, 0]";
  std::minstd_rand random(1);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string text = good;
    for (std::uint32_t n = random() % 3 + 1; n > 0; --n)
      text[random() % text.size()] =
          static_cast<char>(random() % 2 == 0 ? random() : '0' + random() % 4);
    if (random() % 4 == 0) text.resize(random() % text.size());
    refused += read(text) != "accepted";
  }
  CHECK(refused > 700);
  CHECK(refused < 1000);
}
