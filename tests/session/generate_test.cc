// Text: generate, stop strings, limits, streaming.
#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

namespace v4i::session::test {
namespace {

const std::shared_ptr<Context>& context() {
  static const auto made = open({.path = model_with_tokenizer()});
  return made;
}

std::unique_ptr<Session> make(std::uint64_t seed, std::int64_t context_size = 0) {
  SessionOptions o;
  o.seed = seed;
  o.context_size = context_size;
  auto s = std::make_unique<Session>(context(), o);
  auto sampler = std::make_shared<sampling::Sampler>(*hot());
  sampler->set_bias({{1, -1e9f}});  // no EOS: these texts end by other means
  s->set_sampler(sampler);
  s->append_text("Once upon a time", true, false);
  return s;
}

struct Out {
  std::string text, streamed;
  Finish finish = Finish::kNone;
  std::vector<std::int32_t> tokens;
};

Out generate(Session& s, std::int64_t most, std::vector<std::string> stop = {},
             std::size_t cancel_after = 0) {
  Out out;
  GenerateOptions o;
  o.max_tokens = most;
  o.stop = std::move(stop);
  o.on_step = [&](const Step& step) {
    CHECK(tokenizer::is_utf8(step.text));
    out.streamed += step.text;
    out.tokens.push_back(step.token);
    return out.tokens.size() == cancel_after;
  };
  out.text = s.generate(o, {}, &out.finish);
  CHECK(out.streamed == out.text);
  CHECK(s.finish() == out.finish);
  return out;
}

// The characters that begin in [first, first + n): never half of one.
std::string characters(const std::string& text, std::size_t first, std::size_t n) {
  auto inside = [&](std::size_t i) { return i < text.size() && (text[i] & 0xc0) == 0x80; };
  std::size_t end = first + n;
  while (inside(first)) ++first;
  while (inside(end) || end == first) ++end;
  return text.substr(first, end - first);
}

TEST_CASE("text goes in as the tokenizer's ids, with BOS when asked") {
  const auto s = make(1);
  std::vector<std::int32_t> ids = {0};
  context()->tokenizer().encode("Once upon a time", false, ids);
  CHECK(std::equal(ids.begin(), ids.end(), s->tokens().begin(), s->tokens().end()));
}

TEST_CASE("generate returns the text of its tokens and ends at max_tokens") {
  const auto s = make(1);
  const std::size_t before = s->tokens().size();
  const Out out = generate(*s, 50);
  CHECK(out.finish == Finish::kLength);
  CHECK(out.tokens.size() == 50);
  CHECK(s->tokens().size() == before + 50);
  const std::string all = tokenizer::to_valid_utf8(context()->tokenizer().decode(out.tokens));
  CHECK(all.compare(0, out.text.size(), out.text) == 0);
  CHECK(all.size() - out.text.size() < 4);  // an unfinished character at most
}

TEST_CASE("two halves of a text are the whole text") {
  const Out whole = generate(*make(2), 60);
  const auto s = make(2);
  std::string text;
  for (int i = 0; i < 4; ++i) text += generate(*s, 15).text;
  CHECK(text == whole.text);
}

TEST_CASE("a stop string cuts the text before it and keeps the tokens") {
  const Out whole = generate(*make(3), 80);
  REQUIRE(whole.text.size() > 60);
  int crossing = 0;
  for (std::size_t at = 3; at + 12 < whole.text.size(); at += 7) {
    // Any piece of the text is a stop string; it may span tokens.
    const std::string stop = characters(whole.text, at, 1 + at % 9);
    const auto s = make(3);
    const std::size_t before = s->tokens().size();
    const Out out = generate(*s, 80, {"never there", stop});
    INFO("stop string at " << at);
    CHECK(out.finish == Finish::kStop);
    CHECK(out.text == whole.text.substr(0, whole.text.find(stop)));
    CHECK(s->tokens().size() == before + out.tokens.size());
    const std::string shown = context()->tokenizer().decode(out.tokens);
    crossing += shown.size() > out.text.size() + stop.size();
    // The timeline is whole: going on gives the tokens of the uninterrupted one.
    if (out.tokens.size() < 80) CHECK(s->step({}).token == whole.tokens[out.tokens.size()]);
  }
  CHECK(crossing > 0);
}

TEST_CASE("text held back for a stop string that never completes comes with the last step") {
  const Out whole = generate(*make(3), 80);
  const std::string tail = characters(whole.text, whole.text.size() - 6, 6);
  const Out out = generate(*make(3), 80, {tail + "and no more"});
  CHECK(out.finish == Finish::kLength);
  CHECK(out.text == whole.text);
}

TEST_CASE("the callback stops with what was shown so far, and the next call goes on") {
  const Out whole = generate(*make(4), 40);
  const auto s = make(4);
  const Out first = generate(*s, 40, {}, 10);
  CHECK(first.finish == Finish::kCancelled);
  CHECK(first.tokens.size() == 10);
  const Out rest = generate(*s, 30);
  CHECK(first.text + rest.text == whole.text);
}

TEST_CASE("a full context ends the text with the finish length") {
  const auto s = make(5, 30);
  const Out out = generate(*s, 0);
  CHECK(out.finish == Finish::kLength);
  CHECK(s->tokens().size() == 30);
  CHECK(has(error_of([&] { generate(*s, 5); }), "-10 "));
}

TEST_CASE("EOS ends the text and shows nothing of itself") {
  const auto s = make(6);
  auto sampler = std::make_shared<sampling::Sampler>(*greedy());
  sampler->set_bias({{1, 1e9f}});
  s->set_sampler(sampler);
  const Out out = generate(*s, 10);
  CHECK(out.finish == Finish::kEos);
  CHECK(out.text.empty());
  CHECK(out.tokens == std::vector<std::int32_t>{1});
  CHECK(has(error_of([&] { generate(*s, 5); }), "-9 "));
}

TEST_CASE("a cancel is an Error and keeps the tokens that were complete") {
  const auto s = make(7);
  const std::size_t before = s->tokens().size();
  CancelFlag cancel;
  RunOptions run;
  run.cancel = &cancel;
  GenerateOptions o;
  o.max_tokens = 100;
  std::size_t steps = 0;
  o.on_step = [&](const Step&) {
    if (++steps == 7) cancel.signal();
    return false;
  };
  CHECK(has(error_of([&] { s->generate(o, run, nullptr); }), "-7 "));
  CHECK(s->tokens().size() == before + 7);
  CHECK(generate(*s, 3).tokens.size() == 3);
}

TEST_CASE("options that make no sense are refused before anything is computed") {
  const auto s = make(8);
  GenerateOptions o;
  o.max_tokens = -1;
  CHECK(has(error_of([&] { s->generate(o, {}, nullptr); }), "-1 max_tokens is -1"));
  o = {};
  o.stop = {""};
  CHECK(has(error_of([&] { s->generate(o, {}, nullptr); }), "-1 a stop string is empty"));
  o.stop = {"ok", "\xff"};
  CHECK(has(error_of([&] { s->generate(o, {}, nullptr); }), "-1 a stop string is not UTF-8"));
  CHECK(s->position() == 0);
  const auto mute = make_session(open());
  mute->append(make_ids(4));
  o.stop = {"x"};
  CHECK(has(error_of([&] { mute->generate(o, {}, nullptr); }), "-6 "));
}

TEST_CASE("a saved, restored, forked or rewound session streams the same text",
          "[session][family]") {
  const Out whole = generate(*make(9), 60);
  const auto s = make(9);
  std::string text;
  for (int i = 0; i < 60; ++i) {
    const auto copy = restore(context(), save(*s)), twin = s->fork();
    copy->set_sampler([&] {
      auto sampler = std::make_shared<sampling::Sampler>(*hot());
      sampler->set_bias({{1, -1e9f}});
      return sampler;
    }());
    const Step step = s->step({});
    text += step.text;
    CHECK(copy->step({}).text == step.text);
    CHECK(twin->step({}).text == step.text);
    twin->step({});
    twin->rewind(static_cast<std::int64_t>(s->tokens().size()) - 1);
    CHECK(twin->step({}).text == step.text);
  }
  CHECK(text == whole.text);
}

TEST_CASE("the same seed gives the same text, another seed another one") {
  CHECK(generate(*make(10), 40).tokens == generate(*make(10), 40).tokens);
  CHECK(generate(*make(10), 40).tokens != generate(*make(11), 40).tokens);
}

TEST_CASE("a tokenizer larger than the vocabulary is refused at open") {
  v4i::test::TempDir dir;
  v4i::test::copy_model(tiny(0), dir.path());
  v4i::test::write_file(
      dir.file("tokenizer.json"),
      v4i::test::read_file(v4i::test::source_dir() + "/tests/tokenizer/golden/tokenizer.json"));
  CHECK(has(error_of([&] { open({.path = dir.path()}); }), "the model's vocabulary ends at 511"));
}

}  // namespace
}  // namespace v4i::session::test
