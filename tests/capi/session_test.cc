// Sections 6 and 7 of v4infer.h: sessions, prompts, saving.
#include <string>

#include "tests/capi/fixture.h"

using namespace v4i::test;

namespace {

std::string saved(v4infer::Session& s) {
  std::string out;
  ok(s.save([&](const void* data, std::size_t bytes) {
    out.append(static_cast<const char*>(data), bytes);
    return true;
  }));
  return out;
}

// Gives at most `most` bytes at a time.
v4infer::Result<v4infer::Session> restored(const std::string& bytes, std::size_t most = 1000) {
  std::size_t at = 0;
  return v4infer::Session::restore(model(), [&](void* data, std::size_t n) {
    n = std::min({n, most, bytes.size() - at});
    std::memcpy(data, bytes.data() + at, n);
    at += n;
    return n;
  });
}

std::string greedy_text(v4infer::Session& s, int tokens) {
  ok(s.set_sampler(ok(v4infer::Sampler::greedy(model()))));
  auto o = v4infer::init<v4i_generate_options>();
  o.max_tokens = tokens;
  return ok(s.generate(o));
}

}  // namespace

TEST_CASE("Session options this build cannot honour are refused, never ignored") {
  const auto create = [](const v4i_session_options& o, v4i_status want, const char* word) {
    v4i_session* out = nullptr;
    refused(want, word,
            [&](v4i_error** err) { return v4i_session_create(model().get(), &o, &out, err); });
    CHECK(out == nullptr);
  };
  auto o = v4infer::init<v4i_session_options>();
  o.context_size = 0xffffffffu;
  create(o, V4I_E_INVALID, "context_size is 4294967295, allowed is 0 to 1048576");
  o = v4infer::init<v4i_session_options>();
  o.tier_count = 1;
  create(o, V4I_E_INVALID, "tiers is NULL");
  o = v4infer::init<v4i_session_options>();
  o.priority = 1;
  create(o, V4I_E_UNSUPPORTED, "priority");
  o = v4infer::init<v4i_session_options>();
  o.capture = 1;
  create(o, V4I_E_UNSUPPORTED, "capture");
  o = v4infer::init<v4i_session_options>();
  auto ext = v4infer::init<v4i_ext>();
  ext.type = 5;
  o.next = &ext;
  create(o, V4I_E_UNSUPPORTED, "extension type 5");
  refused(V4I_E_INVALID, "model is NULL", [](v4i_error** err) {
    v4i_session* out = nullptr;
    return v4i_session_create(nullptr, nullptr, &out, err);
  });
}

TEST_CASE("Appending queues, prefill computes, and the info says so") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(9)));
  auto info = ok(s.info());
  CHECK(info.position == 0);
  CHECK(info.pending == 9);
  CHECK(info.context_size == 1048576);
  CHECK(info.kv_host_bytes > 0);
  ok(s.prefill());
  info = ok(s.info());
  CHECK(info.position == 9);
  CHECK(info.pending == 0);
  CHECK(ok(s.tokens()) == some_tokens(9));
  CHECK(ok(s.tokens(7)).size() == 2);
  std::size_t n = 0;
  refused(V4I_E_INVALID, "first is 10, allowed is 0 to 9",
          [&](v4i_error** err) { return v4i_session_tokens(s.get(), 10, nullptr, 0, &n, err); });
}

TEST_CASE("Prompts that are none are refused and change nothing") {
  v4infer::Session s = new_session();
  CHECK(s.append(v4infer::Tokens{1, 512}).code() == V4I_E_INVALID);
  CHECK(s.append(v4infer::Tokens{-1}).code() == V4I_E_INVALID);
  CHECK(s.append("x", 8).code() == V4I_E_INVALID);
  CHECK(ok(s.info()).pending == 0);
  refused(V4I_E_INVALID, "tokens is NULL",
          [&](v4i_error** err) { return v4i_session_append_tokens(s.get(), nullptr, 3, err); });
  auto o = v4infer::init<v4i_session_options>();
  o.context_size = 4;
  v4infer::Session small = ok(v4infer::Session::create(model(), o));
  CHECK(small.append(some_tokens(5)).code() == V4I_E_CONTEXT_FULL);
  ok(small.append(some_tokens(4)));
  ok(small.prefill());
  v4infer::Session plain = ok(v4infer::Session::create(plain_model()));
  CHECK(plain.append("x").code() == V4I_E_UNSUPPORTED);
}

TEST_CASE("Images, audio and video are refused as unsupported, wrong structs before that") {
  v4infer::Session s = new_session();
  auto image = v4infer::init<v4i_image>();
  auto audio = v4infer::init<v4i_audio>();
  auto video = v4infer::init<v4i_video>();
  refused(V4I_E_UNSUPPORTED, "images",
          [&](v4i_error** err) { return v4i_session_append_image(s.get(), &image, err); });
  refused(V4I_E_UNSUPPORTED, "audio",
          [&](v4i_error** err) { return v4i_session_append_audio(s.get(), &audio, err); });
  refused(V4I_E_UNSUPPORTED, "video",
          [&](v4i_error** err) { return v4i_session_append_video(s.get(), &video, err); });
  image.struct_size = 1;
  refused(V4I_E_ABI, "v4i_image",
          [&](v4i_error** err) { return v4i_session_append_image(s.get(), &image, err); });
}

TEST_CASE("Fork, rewind, sync and save lead to the text that never stopping gives") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(150)));
  ok(s.prefill());
  v4infer::Session copy = ok(s.fork());
  const std::string bytes = saved(s);
  const std::string want = greedy_text(s, 12);

  CHECK(greedy_text(copy, 12) == want);
  v4infer::Session back = ok(restored(bytes));
  CHECK(ok(back.info()).position == 150);
  CHECK(greedy_text(back, 12) == want);
  ok(s.rewind(150));
  CHECK(greedy_text(s, 12) == want);
  v4infer::Tokens other = some_tokens(150);
  other[100] ^= 1;
  ok(s.sync(other));
  const std::size_t reused = ok(s.sync(some_tokens(150)));
  CHECK(reused <= 100);
  CHECK(ok(s.info()).reused_tokens == reused);
  CHECK(greedy_text(s, 12) == want);
  CHECK(ok(s.sync(some_tokens(150))) >= 149);
}

TEST_CASE("Rewind behind the end is refused with the allowed range") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(5)));
  refused(V4I_E_INVALID, "position is 6, allowed is 0 to 5",
          [&](v4i_error** err) { return v4i_session_rewind(s.get(), 6, err); });
  refused(V4I_E_INVALID, "position is",
          [&](v4i_error** err) { return v4i_session_rewind(s.get(), ~std::uint64_t{0}, err); });
}

TEST_CASE("A saved session that is damaged, cut, or of another model is refused") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(30)));
  ok(s.prefill());
  const std::string bytes = saved(s);
  ok(restored(bytes, 1));  // a reader may give one byte at a time
  CHECK(restored(bytes.substr(0, bytes.size() / 2)).error().code() == V4I_E_FORMAT);
  CHECK(restored("").error().code() == V4I_E_FORMAT);
  std::string wrong = bytes;
  wrong[wrong.size() / 2] ^= 0x40;
  CHECK(restored(wrong).error().code() == V4I_E_FORMAT);

  auto n = v4infer::init<v4i_numerics>();
  n.type = V4I_EXT_NUMERICS;
  n.mode = V4I_NUMERICS_EXACT;
  auto o = v4infer::init<v4i_model_options>();
  o.next = reinterpret_cast<const v4i_ext*>(&n);
  const auto exact = ok(v4infer::Model::open(engine(), text_model_path().c_str(), o));
  std::size_t at = 0;
  const auto r = v4infer::Session::restore(exact, [&](void* data, std::size_t want) {
    want = std::min(want, bytes.size() - at);
    std::memcpy(data, bytes.data() + at, want);
    at += want;
    return want;
  });
  CHECK(r.error().code() == V4I_E_UNSUPPORTED);
}

TEST_CASE("What goes wrong in a reader or writer arrives as an error") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(3)));
  CHECK(s.save([](const void*, std::size_t) { return false; }).code() == V4I_E_IO);
  const auto thrown = s.save(
      [](const void*, std::size_t) -> bool { throw std::runtime_error("the disk is on fire"); });
  CHECK(thrown.code() == V4I_E_INTERNAL);
  CHECK(thrown.message() == std::string("the disk is on fire"));
  const auto odd = s.save([](const void*, std::size_t) -> bool { throw 3; });
  CHECK(odd.code() == V4I_E_INTERNAL);
  const auto read = v4infer::Session::restore(
      model(), [](void*, std::size_t) -> std::size_t { throw std::runtime_error("no tape"); });
  CHECK(read.error().message() == std::string("no tape"));
  const auto liar = v4infer::Session::restore(model(), [](void*, std::size_t n) { return n + 1; });
  CHECK(liar.error().code() == V4I_E_INVALID);

  auto w = v4infer::init<v4i_writer>();
  refused(V4I_E_INVALID, "write is NULL",
          [&](v4i_error** err) { return v4i_session_save(s.get(), &w, err); });
  auto r = v4infer::init<v4i_reader>();
  v4i_session* out = nullptr;
  refused(V4I_E_INVALID, "read is NULL", [&](v4i_error** err) {
    return v4i_session_restore(model().get(), nullptr, &r, &out, err);
  });
  r.read = [](void*, std::size_t, std::size_t*, void*) -> v4i_status { return -77; };
  refused(V4I_E_IO, "returned -77", [&](v4i_error** err) {
    return v4i_session_restore(model().get(), nullptr, &r, &out, err);
  });
  ok(s.prefill());  // still good
}
