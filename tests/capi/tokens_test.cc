// Section 5 of v4infer.h: tokens and chat.
#include <nlohmann/json.hpp>

#include "tests/capi/fixture.h"

using namespace v4i::test;
using nlohmann::json;

namespace {

constexpr char kText[] = "na\xc3\xafve <think> caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac\n";

json events_of(v4i_chat_stream* c, const char* text) {
  return json::parse(ok(v4infer::detail::text([&](v4i_buffer** b, v4i_error** err) {
    return text == nullptr ? v4i_chat_stream_finish(c, b, err)
                           : v4i_chat_stream_feed(c, text, V4I_ZSTR, b, err);
  })));
}

}  // namespace

TEST_CASE("Text becomes ids and comes back byte for byte") {
  const auto ids = ok(model().tokenize(kText));
  CHECK(ok(model().detokenize(ids)) == kText);
  std::string pieces;
  for (const v4i_token t : ids) {
    const char* bytes = nullptr;
    std::size_t len = 0;
    REQUIRE(v4i_token_bytes(model().get(), t, &bytes, &len, nullptr) == V4I_OK);
    pieces.append(bytes, len);
  }
  CHECK(pieces == kText);
}

TEST_CASE("Special tokens are text unless asked for") {
  const v4i_token think = model().special(V4I_SPECIAL_THINK);
  REQUIRE(think >= 0);
  const auto has = [&](std::uint32_t flags) {
    const auto ids = ok(model().tokenize("<think>", flags));
    return std::find(ids.begin(), ids.end(), think) != ids.end();
  };
  CHECK(!has(0));
  CHECK(has(V4I_TOK_PARSE_SPECIAL));
  CHECK(ok(model().tokenize("x", V4I_TOK_ADD_BOS))[0] == model().special(V4I_SPECIAL_BOS));
  for (const std::int32_t which :
       {V4I_SPECIAL_EOS, V4I_SPECIAL_USER, V4I_SPECIAL_ASSISTANT, V4I_SPECIAL_END_THINK})
    CHECK(model().special(which) >= 0);
  CHECK(model().special(0) == -1);
  CHECK(model().special(99) == -1);
  CHECK(v4i_token_special(nullptr, V4I_SPECIAL_BOS) == -1);
  CHECK(plain_model().special(V4I_SPECIAL_BOS) == -1);
}

TEST_CASE("Array outputs: cap 0 counts, too small a cap writes nothing, V4I_ZSTR measures") {
  std::size_t count = 0;
  REQUIRE(v4i_tokenize(model().get(), "hello", V4I_ZSTR, 0, nullptr, 0, &count, nullptr) == V4I_OK);
  REQUIRE(count > 1);
  std::vector<v4i_token> out(count, -7);
  std::size_t again = 0;
  refused(V4I_E_INVALID, "cap is 1", [&](v4i_error** err) {
    return v4i_tokenize(model().get(), "hello", V4I_ZSTR, 0, out.data(), 1, &again, err);
  });
  CHECK(again == count);
  CHECK(out == std::vector<v4i_token>(count, -7));
  REQUIRE(v4i_tokenize(model().get(), "hello", 5, 0, out.data(), count, &again, nullptr) == V4I_OK);
  CHECK(out == ok(model().tokenize("hello")));
  CHECK(ok(model().tokenize("")).empty());
}

TEST_CASE("Wrong arguments of token functions are refused by name") {
  std::size_t n = 0;
  const char* bytes = nullptr;
  refused(V4I_E_INVALID, "model is NULL",
          [&](v4i_error** err) { return v4i_tokenize(nullptr, "x", 1, 0, nullptr, 0, &n, err); });
  refused(V4I_E_INVALID, "text is NULL", [&](v4i_error** err) {
    return v4i_tokenize(model().get(), nullptr, 1, 0, nullptr, 0, &n, err);
  });
  refused(V4I_E_INVALID, "flags are 0x4", [&](v4i_error** err) {
    return v4i_tokenize(model().get(), "x", 1, 4, nullptr, 0, &n, err);
  });
  refused(V4I_E_INVALID, "count is NULL", [&](v4i_error** err) {
    return v4i_tokenize(model().get(), "x", 1, 0, nullptr, 0, nullptr, err);
  });
  const v4i_token wrong[] = {512};
  refused(V4I_E_INVALID, "512", [&](v4i_error** err) {
    return v4i_detokenize(model().get(), wrong, 1, nullptr, 0, &n, err);
  });
  refused(V4I_E_INVALID, "-1",
          [&](v4i_error** err) { return v4i_token_bytes(model().get(), -1, &bytes, &n, err); });
  refused(V4I_E_UNSUPPORTED, "tokenizer.json", [&](v4i_error** err) {
    return v4i_tokenize(plain_model().get(), "x", 1, 0, nullptr, 0, &n, err);
  });
}

TEST_CASE("Messages as structs and as JSON give the same prompt") {
  v4i_chat_message m[2] = {v4infer::init<v4i_chat_message>(), v4infer::init<v4i_chat_message>()};
  m[0].role = "system";
  m[0].content = "Be brief.";
  m[0].content_len = V4I_ZSTR;
  m[1].role = "user";
  m[1].content = "hi \"there\" <think>";
  m[1].content_len = V4I_ZSTR;
  auto o = v4infer::Model::chat_options();
  o.thinking = 2;
  const auto ids = ok(v4infer::detail::fill<v4infer::Tokens>(
      [&](v4i_token* out, std::size_t cap, std::size_t* n, v4i_error** err) {
        return v4i_chat_encode(model().get(), m, 2, &o, out, cap, n, err);
      }));
  CHECK(ids == ok(model().chat(R"([{"role": "system", "content": "Be brief."},
                                   {"role": "user", "content": "hi \"there\" <think>"}])",
                               o)));
  CHECK(std::count(ids.begin(), ids.end(), model().special(V4I_SPECIAL_THINK)) == 1);
  CHECK(ids.back() == model().special(V4I_SPECIAL_THINK));
  CHECK(ids.front() == model().special(V4I_SPECIAL_BOS));
}

TEST_CASE("Options of chat_encode change the prompt as documented") {
  const char* hi = R"([{"role": "user", "content": "hi"}])";
  auto o = v4infer::Model::chat_options();
  const auto off = ok(model().chat(hi, o));
  CHECK(off.back() == model().special(V4I_SPECIAL_END_THINK));
  o.thinking = 1;
  CHECK(ok(model().chat(hi, o)) == off);
  o.thinking = 2;
  const auto on = ok(model().chat(hi, o));
  o.effort = 3;
  const auto effort = ok(model().chat(hi, o));
  CHECK(effort.size() > on.size());
  o.effort = 0;
  o.thinking = 3;
  CHECK(ok(model().chat(hi, o)) == effort);
  o = v4infer::init<v4i_chat_options>();
  CHECK(ok(model().chat(hi, o)).size() < off.size());  // no assistant's turn
  o.tools_json = R"([{"type": "function", "function": {"name": "look"}}])";
  o.tools_json_len = V4I_ZSTR;
  const std::string text = ok(model().detokenize(ok(model().chat(hi, o))));
  CHECK(text.find("{\"name\": \"look\"}") != std::string::npos);
}

TEST_CASE("Conversations that are none are refused with a sentence") {
  auto o = v4infer::Model::chat_options();
  for (const char* wrong : {"", "{", "[1]", "[{\"role\": \"king\", \"content\": \"x\"}]", "{}"}) {
    CAPTURE(wrong);
    const auto r = model().chat(wrong, o);
    CHECK((r.error().code() == V4I_E_FORMAT || r.error().code() == V4I_E_INVALID));
  }
  const char* hi = R"({"messages": [{"role": "user", "content": "hi"}], "tools": []})";
  o.tools_json = "[]";
  o.tools_json_len = 2;
  CHECK(model().chat(hi, o).error().code() == V4I_E_INVALID);  // tools twice
  o = v4infer::Model::chat_options();
  o.effort = 4;
  CHECK(std::string(model().chat(hi, o).error().message()).find("effort is 4, allowed is 0 to 3") !=
        std::string::npos);
  auto m = v4infer::init<v4i_chat_message>();
  std::size_t n = 0;
  refused(V4I_E_INVALID, "role is NULL", [&](v4i_error** err) {
    return v4i_chat_encode(model().get(), &m, 1, nullptr, nullptr, 0, &n, err);
  });
}

TEST_CASE("An answer is split into reasoning, content and tool calls") {
  const char* call =
      "\n\n<\xef\xbd\x9c"
      "DSML\xef\xbd\x9ctool_calls>\n<\xef\xbd\x9c"
      "DSML\xef\xbd\x9c"
      "invoke name=\"look\">\n<\xef\xbd\x9c"
      "DSML\xef\xbd\x9cparameter name=\"at\" string=\"true\">sky"
      "</\xef\xbd\x9c"
      "DSML\xef\xbd\x9cparameter>\n</\xef\xbd\x9c"
      "DSML\xef\xbd\x9cinvoke>\n"
      "</\xef\xbd\x9c"
      "DSML\xef\xbd\x9ctool_calls>";
  const std::string answer = std::string("hm</think>Let me look.") + call;
  const json whole = json::parse(ok(model().parse(answer)));
  CHECK(whole["reasoning"] == "hm");
  CHECK(whole["content"] == "Let me look.");
  REQUIRE(whole["tool_calls"].size() == 1);
  CHECK(whole["tool_calls"][0]["name"] == "look");
  CHECK(json::parse(whole["tool_calls"][0]["arguments"].get<std::string>())["at"] == "sky");
  CHECK(json::parse(ok(model().parse("just text")))["content"] == "just text");
  CHECK(json::parse(ok(model().parse("a</think>b", 1)))["reasoning"] == "");

  v4i_chat_stream* stream = nullptr;
  REQUIRE(v4i_chat_stream_create(model().get(), 2, &stream, nullptr) == V4I_OK);
  std::string reasoning, content;
  json calls = json::array();
  const auto add = [&](const json& events) {
    for (const json& e : events) {
      if (e["type"] == "reasoning") reasoning += e["text"].get<std::string>();
      if (e["type"] == "content") content += e["text"].get<std::string>();
      if (e["type"] == "tool_call") calls.push_back(e);
    }
  };
  for (const char c : answer) add(events_of(stream, std::string(1, c).c_str()));
  add(events_of(stream, nullptr));
  CHECK(reasoning == "hm");
  REQUIRE(calls.size() == 1);
  CHECK(calls[0]["index"] == 0);
  CHECK(calls[0]["name"] == "look");
  v4i_buffer* b = nullptr;
  refused(V4I_E_STATE, "finished",
          [&](v4i_error** err) { return v4i_chat_stream_feed(stream, "x", 1, &b, err); });
  v4i_chat_stream_release(stream);
  v4i_chat_stream_release(nullptr);
  refused(V4I_E_INVALID, "thinking is 3",
          [&](v4i_error** err) { return v4i_chat_stream_create(model().get(), 3, &stream, err); });
}
