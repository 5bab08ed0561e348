// See fixture.h.
#include "tests/capi/fixture.h"

#include "tests/support/tiny_model.h"

namespace v4i::test {
namespace {

std::string with_tokenizer(const TempDir& dir) {
  copy_model(make_tiny(1), dir.path());
  write_file(dir.file("tokenizer.json"),
             read_file(std::string(V4I_SOURCE_DIR) + "/tests/tokenizer/golden/tokenizer_512.json"));
  return dir.path();
}

v4infer::Engine make_engine() {
  v4i_engine_options o = v4infer::Engine::options();
  o.thread_count = 2;
  return ok(v4infer::Engine::create(o));
}

}  // namespace

const std::string& text_model_path() {
  static const TempDir dir;
  static const std::string path = with_tokenizer(dir);
  return path;
}

std::string plain_model_path() { return make_tiny(1); }

const v4infer::Engine& engine() {
  static const v4infer::Engine e = make_engine();
  return e;
}
const v4infer::Model& model() {
  static const v4infer::Model m = ok(v4infer::Model::open(engine(), text_model_path().c_str()));
  return m;
}
const v4infer::Model& plain_model() {
  static const v4infer::Model m = ok(v4infer::Model::open(engine(), plain_model_path().c_str()));
  return m;
}

v4infer::Session new_session() { return ok(v4infer::Session::create(model())); }

v4infer::Session greedy_session() {
  v4infer::Session s = new_session();
  ok(s.set_sampler(ok(v4infer::Sampler::greedy(model()))));
  return s;
}

v4infer::Tokens some_tokens(std::size_t n) {
  v4infer::Tokens out;
  for (std::uint64_t x = 7; out.size() < n;) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<v4i_token>(2 + (x >> 33) % 498));  // 500 is V4.1's image
  }
  return out;
}

}  // namespace v4i::test
