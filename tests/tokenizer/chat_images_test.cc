// Conversations with images: the published encoder's prompts byte for byte, and which image each
// placeholder stands for.
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/tokenizer/chat.h"
#include "tests/support/catch.h"
#include "tests/tokenizer/vectors.h"

namespace v4i::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

const Tokenizer& small() {
  static const auto t = Tokenizer::open(golden("tokenizer.json"));
  return *t;
}

ChatOptions options_of(const Json& c) {
  ChatOptions o;
  o.family = ChatFamily::kV41;
  o.thinking = c.at("thinking");
  const Json& effort = c.at("effort");
  if (effort.is_number()) {
    o.effort = Effort::kNumber;
    o.effort_number = effort;
  } else if (effort.is_string()) {
    o.effort = effort == "low" ? Effort::kLow : effort == "max" ? Effort::kMax : Effort::kHigh;
  }
  return o;
}

TEST_CASE("Conversations with images are the published encoder's, byte for byte") {
  const Json cases = Json::parse(read_text_file(golden("chat/images.v41.json"), 1u << 20));
  REQUIRE(cases.size() >= 18);
  for (const Json& c : cases) {
    CAPTURE(c.at("name").get<std::string>());
    const RenderedChat r = render_chat(small(), c.at("messages").dump(), options_of(c));
    CHECK(r.text == c.at("text").get<std::string>());
    CHECK(r.images == c.at("order").get<std::vector<std::uint32_t>>());
    const auto placeholders = std::count(r.ids.begin(), r.ids.end(), image_placeholder(small()));
    CHECK(static_cast<std::size_t>(placeholders) == r.images.size());
    CHECK(small().decode(r.ids) == r.text);
  }
}

TEST_CASE("V4 says in words that there was an image, and counts it") {
  ChatOptions o;
  o.family = ChatFamily::kV4_0731;
  const RenderedChat r = render_chat(
      small(), R"([{"role":"user","content":[{"type":"image"},{"type":"text","text":"q"}]}])", o);
  CHECK(r.text.find("[Unsupported image]\n\nq") != std::string::npos);
  CHECK(r.images == std::vector<std::uint32_t>{0});
}

TEST_CASE("An image in a message that cannot hold one is refused") {
  ChatOptions o;
  o.family = ChatFamily::kV41;
  for (const char* role : {"system", "assistant", "latest_reminder"}) {
    const std::string json =
        std::string(R"([{"role":")") + role + R"(","content":[{"type":"image"}]}])";
    CHECK_THROWS_AS(render_chat(small(), json, o), Error);
  }
}

}  // namespace
}  // namespace v4i::tokenizer
