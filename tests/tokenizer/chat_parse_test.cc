// Chat parsing: what was rendered is read back, whole or in any pieces.
#include "lib/tokenizer/chat_parse.h"

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/catch.h"
#include "tests/tokenizer/vectors.h"

namespace v4i::tokenizer {
namespace {

std::string fancy(const std::string& s) {  // | is the bar of special tokens
  std::string out;
  for (const char c : s) out += c == '|' ? std::string("\xef\xbd\x9c") : std::string(1, c);
  return out;
}

ParseOptions options(bool thinking, bool strict, ChatFamily family = ChatFamily::kV4_0731) {
  return {family, thinking, strict};
}

std::string after(const std::string& s, const std::string& marker, bool last) {
  const std::size_t i = last ? s.rfind(marker) : s.find(marker);
  return s.substr(i + marker.size());
}

const char kCall[] =
    "\n\n<|DSML|tool_calls>\n<|DSML|invoke name=\"f\">\n"
    "<|DSML|parameter name=\"s\" string=\"true\">a \"b\"\n</c></|DSML|parameter>\n"
    "<|DSML|parameter name=\"n\" string=\"false\">[1, {\"x\": 2.50}]</|DSML|parameter>\n"
    "</|DSML|invoke>\n<|DSML|invoke name=\"g\">\n\n</|DSML|invoke>\n</|DSML|tool_calls>";
const char kCallJson[] = R"({"s": "a \"b\"\n</c>", "n": [1, {"x": 2.50}]})";

std::string v41(std::string s) {
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"|tool_calls", "| calls"},
                                 {"|invoke", "| invoke"},
                                 {"|parameter", "| parameter"}})
    for (std::size_t i = s.find(from); i != std::string::npos; i = s.find(from, i + to.size()))
      s.replace(i, from.size(), to);
  return s;
}

TEST_CASE("The published cases parse back to their messages") {
  const std::string marker = fancy("<|Assistant|><think>");
  for (const auto& [name, family] :
       {std::pair<std::string, ChatFamily>{"case_1.v4.txt", ChatFamily::kV4Preview},
        {"case_1.v41.txt", ChatFamily::kV41}}) {
    const std::string text = read_text_file(golden("chat/" + name), 1u << 20);
    std::string first = after(text, marker, false);
    first = first.substr(0, first.find(fancy("<|User|>")));
    const ParsedChat call = parse_chat(first, options(true, true, family));
    CHECK(call.reasoning ==
          "The user wants to know the weather in Beijing. I should use the get_weather tool.");
    CHECK(call.content.empty());
    REQUIRE(call.tool_calls.size() == 1);
    CHECK(call.tool_calls[0].text == "get_weather");
    CHECK(call.tool_calls[0].arguments == R"({"location": "Beijing", "unit": "celsius"})");
    const ParsedChat last = parse_chat(after(text, marker, true), options(true, true, family));
    CHECK(last.reasoning == "Got the weather data. Let me format a nice response.");
    CHECK(last.content.find("22\xc2\xb0"
                            "C") != std::string::npos);
    CHECK(last.tool_calls.empty());
  }
}

TEST_CASE("Any cut of the text into pieces gives the same events") {
  for (const ChatFamily family : {ChatFamily::kV4_0731, ChatFamily::kV41}) {
    std::string text = std::string("hm\n\n<|DSX</thi</think>a <| b\n\n\n<") + kCall +
                       "<|end\xe2\x96\x81of\xe2\x96\x81sentence|>";
    if (family == ChatFamily::kV41) text = v41(text);
    text = fancy(text);
    const ParsedChat want = parse_chat(text, options(true, false, family));
    CHECK(want.problem.empty());
    CHECK(want.reasoning == fancy("hm\n\n<|DSX</thi"));
    CHECK(want.content == fancy("a <| b\n\n\n<"));
    REQUIRE(want.tool_calls.size() == 2);
    CHECK(want.tool_calls[0].arguments == kCallJson);
    CHECK(want.tool_calls[1].arguments == "{}");
    // All ways to cut it in two, and byte by byte.
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      ChatParser parser(options(true, false, family));
      std::vector<ChatEvent> events;
      if (cut == text.size())
        for (const char c : text) parser.push({&c, 1}, events);
      parser.push(std::string_view(text).substr(0, cut == text.size() ? 0 : cut), events);
      if (cut < text.size()) parser.push(std::string_view(text).substr(cut), events);
      parser.flush(events);
      std::string reasoning, content, calls;
      for (const ChatEvent& e : events) {
        if (e.kind == ChatEvent::Kind::kReasoning) reasoning += e.text;
        if (e.kind == ChatEvent::Kind::kContent) content += e.text;
        if (e.kind == ChatEvent::Kind::kToolCall) calls += e.text + e.arguments;
      }
      CAPTURE(cut);
      REQUIRE(reasoning == want.reasoning);
      REQUIRE(content == want.content);
      REQUIRE(calls == std::string("f") + kCallJson + "g{}");
    }
  }
}

TEST_CASE("Text is handed on as soon as it cannot be a tag") {
  ChatParser parser(options(false, false));
  std::vector<ChatEvent> events;
  parser.push("Hello", events);
  REQUIRE(events.size() == 1);
  CHECK(events[0].text == "Hello");
  events.clear();
  parser.push("\n\n<", events);
  CHECK(events.empty());
  parser.push("b", events);
  REQUIRE(events.size() == 1);
  CHECK(events[0].text == "\n\n<b");
}

TEST_CASE("A parameter that is not JSON becomes a JSON string") {
  const std::string text = fancy(
      "\n\n<|DSML|tool_calls>\n<|DSML|invoke name=\"f\">\n"
      "<|DSML|parameter name=\"p\" string=\"false\">{'a': 1}</|DSML|parameter>\n"
      "</|DSML|invoke>\n</|DSML|tool_calls>");
  const ParsedChat c = parse_chat(text, options(false, true));
  REQUIRE(c.tool_calls.size() == 1);
  CHECK(c.tool_calls[0].arguments == R"({"p": "{'a': 1}"})");
}

TEST_CASE("Strict parsing refuses with a sentence what tolerant parsing reports") {
  const std::string call = kCall;
  const std::string twice =
      "\n\n<|DSML|tool_calls>\n<|DSML|invoke name=\"f\">\n"
      "<|DSML|parameter name=\"s\" string=\"true\">1</|DSML|parameter>\n"
      "<|DSML|parameter name=\"s\" string=\"true\">2</|DSML|parameter>\n"
      "</|DSML|invoke>\n</|DSML|tool_calls>";
  struct Case {
    bool thinking;
    std::string text, problem;
    std::size_t calls;
    std::string content;
  };
  const Case cases[] = {
      {true, "never closed", "ends before </think>", 0, ""},
      {true, "why" + call, "begins before </think>", 2, ""},
      {false, "x" + call.substr(2), "blank line", 2, "x"},
      {false, call + "\n more", "follows the tool block", 2, "more"},
      {false, twice, "occurs twice", 0, twice},
      {false, call.substr(0, call.size() - 20), "cut off", 2, ""},
      {false, call.substr(0, 90), "cut off", 0, call.substr(0, 90)},
      {false, "\n\n<|DSML|tool_calls>\nfoo<|DSML|invoke", "between tool calls", 0,
       "\n\n<|DSML|tool_calls>\nfoo<|DSML|invoke"},
  };
  for (const Case& c : cases) {
    const std::string text = fancy(c.text);
    CAPTURE(text);
    const ParsedChat got = parse_chat(text, options(c.thinking, false));
    CHECK_THAT(got.problem, Catch::Contains(c.problem));
    CHECK(got.tool_calls.size() == c.calls);
    CHECK(got.content == fancy(c.content));
    try {
      parse_chat(text, options(c.thinking, true));
      FAIL("accepted");
    } catch (const Error& e) {
      CHECK(e.code() == Code::kFormat);
    }
  }
  CHECK_THROWS_AS(parse_chat("a <think> b", options(false, true)), Error);
  CHECK(parse_chat("a <think> b", options(false, false)).content == "a <think> b");
}

TEST_CASE("A long parameter arriving byte by byte takes linear time") {
  ChatParser parser(options(false, false));
  std::vector<ChatEvent> events;
  const std::string open = fancy(
      "\n\n<|DSML|tool_calls>\n<|DSML|invoke name=\"f\">\n<|DSML|parameter name=\"s\" "
      "string=\"true\">");
  parser.push(open, events);
  for (int i = 0; i < 500000; ++i) parser.push("<", events);
  parser.push(fancy("</|DSML|parameter>\n</|DSML|invoke>\n</|DSML|tool_calls>"), events);
  parser.flush(events);
  REQUIRE(events.size() == 1);
  CHECK(events[0].arguments.size() == 500000 + std::string(R"({"s": ""})").size());
}

TEST_CASE("The result is JSON whatever bytes came in") {
  const ParsedChat c = parse_chat("a\xff\"\n", options(false, false));
  CHECK(to_json(c) ==
        "{\"reasoning\": \"\", \"content\": \"a\xef\xbf\xbd\\\"\\n\", \"tool_calls\": []}");
  JsonValue v;
  CHECK(try_parse_json(to_json(parse_chat(fancy(kCall), options(false, false))), v));
  CHECK(v.find("tool_calls")->items.size() == 2);
}

}  // namespace
}  // namespace v4i::tokenizer
