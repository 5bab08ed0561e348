// Tokens that stand for media: their rows, their names, and what is refused.
#include <algorithm>
#include <cstring>

#include "kernels/formats.h"
#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using forward::Numerics;

namespace {

// The row of the model's own table, as floats.
std::vector<float> embedding(const model::Model& m, std::int32_t id) {
  const Weight& w = m.weights().embed;
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  for (std::size_t i = 0; i < row.size(); ++i) {
    std::uint16_t code;
    std::memcpy(&code, static_cast<const std::byte*>(w.data) + 2 * (id * w.cols + std::int64_t(i)),
                sizeof code);
    row[i] = kernels::decode_bf16(code);
  }
  return row;
}

struct Media {
  std::vector<float> rows;
  kv::Media where;
  forward::MediaRows what;
};

// Two tokens, 3 and 4 of a chunk, with the embeddings of ids 9 and 10.
Media two_tokens(const model::Model& m) {
  Media out;
  out.rows = embedding(m, 9);
  const auto more = embedding(m, 10);
  out.rows.insert(out.rows.end(), more.begin(), more.end());
  out.where = {.first = 3, .count = 2, .row = 0, .content = Digest{1}};
  out.what.rows = out.rows.data();
  return out;
}

}  // namespace

TEST_CASE("a media row takes the place of the id's embedding, hash routing goes by id",
          "[forward]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(40);
  test::Rig rig(golden.model(), Numerics::kNative, 2);
  const auto v = static_cast<std::size_t>(rig.vocab());
  ids[3] = 9;
  ids[4] = 10;
  const auto want = rig.logits(ids, 40);
  const Media media = two_tokens(*rig.model);
  std::vector<float> got(ids.size() * v);
  kv::State state = rig.state();
  forward::Item item{&state, ids, got.data(), true};
  item.media = {&media.where, 1};
  item.media_rows = {&media.what, 1};
  rig.forward->run({&item, 1}, nullptr);
  CHECK(got == want);
  ids[3] = 11;  // the row stays, the first layer's experts are another id's
  kv::State other = rig.state();
  item.state = &other;
  rig.forward->run({&item, 1}, nullptr);
  CHECK(std::equal(got.begin(), got.begin() + 3 * static_cast<std::ptrdiff_t>(v), want.begin()));
  CHECK_FALSE(std::equal(got.begin() + 3 * static_cast<std::ptrdiff_t>(v), got.end(),
                         want.begin() + 3 * static_cast<std::ptrdiff_t>(v)));
}

TEST_CASE("two images never share KV, the same one does, however it is cut", "[kv]") {
  Budget budget;
  const auto prefix = [&](std::uint8_t content, std::int64_t cut, std::int64_t row = 0) {
    kv::Prefix p(budget, Digest{});
    const std::vector<std::int32_t> ids(300, 5);
    p.reserve(300, 2);
    const kv::Media a{.first = 100, .count = cut - 100, .row = row, .content = Digest{content}};
    const kv::Media b{
        .first = 0, .count = 200 - cut, .row = row + cut - 100, .content = Digest{content}};
    p.append(std::span(ids).first(static_cast<std::size_t>(cut)), {&a, 1});
    p.append(std::span(ids).subspan(static_cast<std::size_t>(cut)), {&b, 1});
    return p.digest(300);
  };
  const Digest one = prefix(1, 150);
  CHECK(prefix(1, 130) == one);
  CHECK(prefix(1, 128) == one);
  CHECK(prefix(1, 199) == one);
  CHECK(prefix(2, 150) != one);
  CHECK(prefix(1, 150, 1) != one);  // other rows of it
  kv::Prefix text(budget, Digest{});
  const std::vector<std::int32_t> ids(300, 5);
  text.reserve(300);
  text.append(ids);
  CHECK(text.digest(300) != one);
  CHECK(text.digest(100) == [&] {
    kv::Prefix p(budget, Digest{});
    p.reserve(300, 1);
    const kv::Media m{.first = 100, .count = 50, .row = 0, .content = Digest{1}};
    p.append(ids, {&m, 1});
    p.cut(100);
    return p.digest(100);
  }());
}

TEST_CASE("what V4 on the CPU has no kernel for is refused by name and changes nothing",
          "[forward]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(20);
  test::Rig rig(golden.model(), Numerics::kNative);
  kv::State state = rig.state();
  Media media = two_tokens(*rig.model);
  forward::Item item{&state, ids};
  item.media = {&media.where, 1};
  item.media_rows = {&media.what, 1};
  media.what.role = 1;
  CHECK_THAT(test::refusal([&] {
               rig.forward->run({&item, 1}, nullptr);
             }),
             Catch::Contains("router bias 1"));
  media.what.role = 0;
  media.what.visible_end = 5;
  CHECK_THAT(test::refusal([&] {
               rig.forward->run({&item, 1}, nullptr);
             }),
             Catch::Contains("position 3 sees ahead to 5"));
  CHECK(state.length() == 0);
}
