// Chat with images through the C interface: messages, placeholders, tokens and images together.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

namespace {

constexpr v4i_token kImage = 508;  // <|deepseek_image|> of tokenizer_512.json

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// The tiny V4.1 with the small tokenizer; `id` is its image_token_id.
std::string with_tokenizer(const TempDir& dir, const char* id) {
  copy_model(make_tiny_v41(0), dir.path());
  const std::string golden = std::string(V4I_SOURCE_DIR) + "/tests/tokenizer/golden/";
  write_file(dir.file("tokenizer.json"), read_file(golden + "tokenizer_512.json"));
  const std::string config = read_file(dir.file("config.json"));
  write_file(dir.file("config.json"),
             replaced(config, "\"image_token_id\": 500", std::string("\"image_token_id\": ") + id));
  return dir.path();
}

const v4infer::Model& seeing() {
  static const TempDir dir;
  static const v4infer::Model model =
      ok(v4infer::Model::open(engine(), with_tokenizer(dir, "508").c_str()));
  return model;
}

v4infer::Session session() { return ok(v4infer::Session::create(seeing())); }

struct Picture {
  std::uint32_t width, height;
  std::vector<std::uint8_t> rgb;

  Picture(std::uint32_t w, std::uint32_t h, std::uint32_t seed)
      : width(w), height(h), rgb(std::size_t{3} * w * h) {
    for (auto& v : rgb) v = static_cast<std::uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
  }
  v4i_image image(std::uint32_t max_tokens = 0) const {
    auto i = v4infer::init<v4i_image>();
    i.format = V4I_PIXELS_RGB8;
    i.width = width;
    i.height = height;
    i.data = rgb.data();
    i.data_bytes = rgb.size();
    i.max_tokens = max_tokens;
    return i;
  }
};

std::vector<float> computed(v4infer::Session& s) {
  ok(s.prefill());
  const auto l = ok(s.logits());
  return {l.data, l.data + l.count};
}

std::size_t placeholders(const v4infer::Tokens& t) {
  return static_cast<std::size_t>(std::count(t.begin(), t.end(), kImage));
}

v4infer::Tokens encoded(const std::vector<v4i_chat_message>& messages) {
  const auto o = v4infer::Model::chat_options();
  return ok(v4infer::detail::fill<v4infer::Tokens>([&](v4i_token* out, std::size_t cap,
                                                       std::size_t* n, v4i_error** err) {
    return v4i_chat_encode(seeing().get(), messages.data(), messages.size(), &o, out, cap, n, err);
  }));
}

v4i_chat_message message(const char* role, const char* text, std::uint32_t images) {
  auto m = v4infer::init<v4i_chat_message>();
  m.role = role;
  m.content = text;
  m.content_len = V4I_ZSTR;
  m.image_count = images;
  return m;
}

}  // namespace

TEST_CASE("the id of an image is known, and -1 where the model takes none") {
  CHECK(seeing().special(V4I_SPECIAL_IMAGE) == kImage);
  CHECK(model().special(V4I_SPECIAL_IMAGE) == -1);
}

TEST_CASE("messages of C structs with images are those of JSON with parts") {
  CHECK(encoded({message("user", "What?", 2)}) ==
        ok(seeing().chat(R"([{"role":"user","content":[{"type":"image"},
          {"type":"image_url","image_url":{"url":"http://x/y.png"}},
          {"type":"text","text":"What?"}]}])")));
  CHECK(encoded({message("user", "Call", 0), message("tool", "", 1)}) ==
        ok(seeing().chat(R"([{"role":"user","content":"Call"},
          {"role":"tool","content":[{"type":"image"}]}])")));
  CHECK(placeholders(encoded({message("user", "a", 3)})) == 3);
  const auto refuse = [&](v4i_status want, const char* word, const v4i_chat_message& m) {
    std::size_t n = 0;
    refused(want, word, [&](v4i_error** err) {
      return v4i_chat_encode(seeing().get(), &m, 1, nullptr, nullptr, 0, &n, err);
    });
  };
  refuse(V4I_E_FORMAT, "only user and tool", message("system", "a", 1));
  refuse(V4I_E_INVALID, "image_count is 4294967295", message("user", "a", 0xffffffffu));
}

TEST_CASE("image_order says which image a placeholder is, where calls turn results round") {
  const char* json = R"([{"role":"user","content":[{"type":"image"},{"type":"text","text":"go"}]},
    {"role":"assistant","content":"","tool_calls":[
      {"id":"a","function":{"name":"f","arguments":"{}"}},
      {"id":"b","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"b","content":[{"type":"image"}]},
    {"role":"tool","tool_call_id":"a","content":[{"type":"image"}]}])";
  CHECK(ok(seeing().image_order(json)) == std::vector<std::uint32_t>{0, 2, 1});
  CHECK(placeholders(ok(seeing().chat(json))) == 3);
  CHECK(ok(seeing().image_order(R"([{"role":"user","content":"q"}])")).empty());
}

TEST_CASE("images for a model without them are unsupported, by parts, structs and calls") {
  const char* json = R"([{"role":"user","content":[{"type":"image"}]}])";
  std::size_t n = 0;
  refused(V4I_E_UNSUPPORTED, "1 images", [&](v4i_error** err) {
    return v4i_chat_encode_json(model().get(), json, V4I_ZSTR, nullptr, nullptr, 0, &n, err);
  });
  const auto m = message("user", "q", 2);
  refused(V4I_E_UNSUPPORTED, "2 images", [&](v4i_error** err) {
    return v4i_chat_encode(model().get(), &m, 1, nullptr, nullptr, 0, &n, err);
  });
  const Picture p(20, 20, 1);
  const auto image = p.image();
  auto s = new_session();
  const v4i_token t = 5;
  refused(V4I_E_UNSUPPORTED, "images", [&](v4i_error** err) {
    return v4i_session_append_media(s.get(), &t, 1, &image, 1, err);
  });
  ok(s.append_media({1, 2, 3}, {}));  // no images: as append_tokens
  CHECK(ok(s.sync_media({1, 2, 3, 4}, {})) == 0);
  CHECK(ok(s.tokens()).size() == 4);
}

TEST_CASE("a tokenizer and a config that disagree about the image's id are refused") {
  const TempDir dir;
  const auto other = ok(v4infer::Model::open(engine(), with_tokenizer(dir, "500").c_str()));
  std::size_t n = 0;
  refused(V4I_E_FORMAT, "508", [&](v4i_error** err) {
    return v4i_chat_encode_json(other.get(), R"([{"role":"user","content":[{"type":"image"}]}])",
                                V4I_ZSTR, nullptr, nullptr, 0, &n, err);
  });
}

TEST_CASE("a conversation with images computes only what is new each turn") {
  const Picture a(120, 90, 1), b(90, 70, 2), other(120, 90, 3);
  std::string json = R"([{"role":"user","content":[{"type":"image"},{"type":"text","text":"one"}]},
    {"role":"assistant","content":"A cat."},
    {"role":"user","content":[{"type":"text","text":"two"},{"type":"image"}]}])";
  const v4infer::Tokens turn = ok(seeing().chat(json));
  auto s = session();
  CHECK(ok(s.sync_media(turn, {a.image(), b.image()})) == 0);
  const auto first = computed(s);
  const std::size_t all = ok(s.tokens()).size();
  CHECK(all > turn.size() + 20);
  CHECK(ok(s.sync_media(turn, {a.image(), b.image()})) == all);

  v4infer::Tokens next = turn;
  next.insert(next.end(), {7, 8, 9});
  CHECK(ok(s.sync_media(next, {a.image(), b.image()})) == all);
  const auto kept = computed(s);
  auto fresh = session();
  ok(fresh.append_media(next, {a.image(), b.image()}));
  CHECK(computed(fresh) == kept);

  CHECK(ok(s.sync_media(next, {other.image(), b.image()})) < all - 20);
  CHECK(computed(s) != kept);
  CHECK(ok(s.sync_media(turn, {a.image(), b.image()})) < all);
  CHECK(computed(s) == first);
  const v4infer::Tokens flat = ok(s.tokens());
  CHECK(placeholders(flat) > 20);
  CHECK(ok(s.sync(flat)) == flat.size());
}

TEST_CASE("media that do not belong together are refused and change nothing") {
  const Picture a(120, 90, 1);
  auto s = session();
  ok(s.append({3, 4}));
  const v4infer::Tokens two = {1, kImage, 2, kImage};
  const auto refuse = [&](v4i_status want, const char* word, const v4infer::Tokens& t,
                          const v4infer::Images& images) {
    refused(want, word, [&](v4i_error** err) {
      return v4i_session_append_media(s.get(), t.data(), t.size(), images.data(), images.size(),
                                      err);
    });
    std::size_t reused = 77;
    refused(want, word, [&](v4i_error** err) {
      return v4i_session_sync_media(s.get(), t.data(), t.size(), images.data(), images.size(),
                                    &reused, err);
    });
    CHECK(reused == 77);
  };
  refuse(V4I_E_INVALID, "2 ids 508", two, {a.image()});
  refuse(V4I_E_INVALID, "3 images", two, {a.image(), a.image(), a.image()});
  refuse(V4I_E_INVALID, "0 ids 508", {1}, {a.image()});
  refuse(V4I_E_INVALID, "512", {512}, {});
  auto broken = a.image();
  broken.data_bytes -= 1;
  refuse(V4I_E_INVALID, "image 2 of 2", two, {a.image(), broken});
  refuse(V4I_E_INVALID, "18 tokens", two, {a.image(), a.image(18)});
  broken = a.image();
  broken.reserved0 = 1;
  refuse(V4I_E_INVALID, "reserved0", two, {a.image(), broken});
  refused(V4I_E_INVALID, "v4i_image is NULL", [&](v4i_error** err) {
    return v4i_session_append_media(s.get(), two.data(), 2, nullptr, 1, err);
  });
  refuse(V4I_E_INVALID, "0 images", {1, kImage}, {});
  CHECK(ok(s.tokens()).size() == 2);
}

TEST_CASE("a bare image id is refused with the calls that take it") {
  auto s = session();
  const v4i_token t[] = {1, kImage};
  refused(V4I_E_INVALID, "v4i_session_append_media",
          [&](v4i_error** err) { return v4i_session_append_tokens(s.get(), t, 2, err); });
  refused(V4I_E_INVALID, "v4i_session_sync_media",
          [&](v4i_error** err) { return v4i_session_sync(s.get(), t, 2, nullptr, err); });
  std::vector<float> logits(1024);
  refused(V4I_E_INVALID, "v4i_session_eval_media", [&](v4i_error** err) {
    return v4i_session_eval(s.get(), t, 2, nullptr, logits.data(), logits.size(), err);
  });
  const char* text =
      "<\xef\xbd\x9c"
      "deepseek_image\xef\xbd\x9c>";
  refused(V4I_E_INVALID, "stands for an image", [&](v4i_error** err) {
    return v4i_session_append_text(s.get(), text, V4I_ZSTR, V4I_TOK_PARSE_SPECIAL, err);
  });
  ok(s.append(text));  // as letters
}

TEST_CASE("max_tokens makes an image cost less, up to the model's limit") {
  const Picture a(300, 200, 1);
  const auto size = [&](std::uint32_t most) {
    auto s = session();
    ok(s.append_image(a.image(most)));
    return ok(s.tokens()).size();
  };
  const std::size_t full = size(0);
  CHECK(size(1000) == full);
  CHECK(size(25) <= 25);
  CHECK(size(19) <= 19);
  CHECK(full > 30);
}

TEST_CASE("eval_media has a row for each token, those of images included") {
  const Picture a(60, 50, 1);
  const v4infer::Tokens t = {3, 4, kImage, 5, 6};
  auto s = session();
  ok(s.append_media(t, {a.image()}));
  const std::size_t rows = ok(s.tokens()).size();
  const auto want = computed(s);
  auto e = session();
  const auto got = ok(e.eval_media(t, {a.image()}, rows, 512));
  CHECK(std::equal(want.begin(), want.end(), got.end() - 512));
  auto text = session();
  const auto head = ok(text.eval({3, 4}, 512));
  CHECK(std::equal(head.begin(), head.end(), got.begin()));
  std::vector<float> few(512);
  const auto image = a.image();
  const std::string count = std::to_string(rows) + " tokens";
  refused(V4I_E_INVALID, count.c_str(), [&](v4i_error** err) {
    return v4i_session_eval_media(text.get(), t.data(), t.size(), &image, 1, nullptr, few.data(),
                                  few.size(), err);
  });
}

TEST_CASE("a session that was saved with images goes on in sync_media") {
  const Picture a(120, 90, 1);
  v4infer::Tokens t = {1, kImage, 5};
  auto s = session();
  ok(s.sync_media(t, {a.image()}));
  computed(s);
  std::string bytes;
  ok(s.save([&](const void* data, std::size_t n) {
    bytes.append(static_cast<const char*>(data), n);
    return true;
  }));
  std::size_t at = 0;
  auto back = ok(v4infer::Session::restore(seeing(), [&](void* data, std::size_t n) {
    n = std::min(n, bytes.size() - at);
    std::memcpy(data, bytes.data() + at, n);
    at += n;
    return n;
  }));
  t.push_back(6);
  const std::size_t kept = ok(back.sync_media(t, {a.image()}));
  CHECK(kept + 1 == ok(back.tokens()).size());
  CHECK(ok(s.sync_media(t, {a.image()})) == kept);
  CHECK(computed(back) == computed(s));
}
