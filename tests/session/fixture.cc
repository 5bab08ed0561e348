// See fixture.h.
#include "tests/session/fixture.h"

#include "lib/base/error.h"
#include "lib/forward/cuda/device.h"
#include "tests/session/guarded.h"

namespace v4i::session::test {

std::shared_ptr<Engine> make_engine(int threads, const std::string& isa) {
  EngineOptions o;
  o.threads = threads;
  o.backend.isa = isa;
#ifdef V4I_TEST_GUARDED
  o.make_backend = guarded_backend;
#endif
#ifdef V4I_TEST_CUDA  // the plug-in of the emulated device, or another
  o.backend.name = "cuda:0";
  o.backend.cuda_library = v4i::test::from_environment("V4INFER_TEST_CUDA_LIBRARY", V4I_TEST_CUDA);
  // Never closed: a driver takes long to open a device again that nobody uses.
  [[maybe_unused]] static const auto& kept = *new auto(forward::cuda::Device::open(
      forward::cuda::Library::open("cuda:0", o.backend.cuda_library), 0));
#endif
  return std::make_shared<Engine>(o);
}

std::string tiny(int seed) {
  const std::string family = v4i::test::from_environment("V4INFER_TEST_FAMILY", "v4");
  return family == "v41" ? v4i::test::make_tiny_v41(seed) : v4i::test::make_tiny(seed);
}

std::shared_ptr<Context> open(std::shared_ptr<Engine> engine, const Open& o) {
  OpenOptions options;
  options.path = o.path.empty() ? tiny(o.seed) : o.path;
  options.numerics = o.numerics;
  options.max_batch_tokens = o.batch;
  options.context_hint = o.context;
  options.kv_store = o.kv_store;
  options.rows_per_block = o.rows_per_block;
  if (o.expert_slots > 0) options.experts = experts::Placement::kCached;
  options.expert_slots = o.expert_slots;
  options.engram = experts::Placement::kCached;
  options.engram_cache_bytes = 64 << 10;
  return Context::open(std::move(engine), options);
}

std::shared_ptr<Context> open(const Open& o) { return open(make_engine(o.threads, o.isa), o); }

std::unique_ptr<Session> make_session(std::shared_ptr<Context> context, std::uint64_t seed) {
  SessionOptions options;
  options.seed = seed;
  return std::make_unique<Session>(std::move(context), options);
}

const std::string& model_with_tokenizer() {
  static const v4i::test::TempDir* dir = [] {
    static const v4i::test::TempDir made;
    v4i::test::copy_model(tiny(0), made.path());
    v4i::test::write_file(made.file("tokenizer.json"),
                          v4i::test::read_file(v4i::test::source_dir() +
                                               "/tests/tokenizer/golden/tokenizer_512.json"));
    return &made;
  }();
  return dir->path();
}

Ids make_ids(std::size_t n, std::uint64_t seed) {
  constexpr std::int32_t kImage = 500;  // stands for an image in the tiny V4.1
  Ids ids(n);
  for (std::size_t i = 0; i < n; ++i) {
    ids[i] = 2 + static_cast<std::int32_t>(sampling::uniform(seed, i) * (kVocab - 2));
    if (ids[i] == kImage) --ids[i];
  }
  return ids;
}

Logits eval(Session& s, std::span<const std::int32_t> ids, int chunk) {
  Logits logits(ids.size() * kVocab);
  RunOptions run;
  run.chunk_tokens = chunk;
  s.eval(ids, logits.data(), run);
  return logits;
}

Logits last(const Session& s) { return {s.logits().begin(), s.logits().end()}; }

Logits reference(const Ids& ids, const Open& o) {
  const auto s = make_session(open(o));
  return eval(*s, ids);
}

bool same_rows(const Logits& a, std::size_t a_row, const Logits& b, std::size_t b_row,
               std::size_t n) {
  if ((a_row + n) * kVocab > a.size() || (b_row + n) * kVocab > b.size()) return false;
  return std::memcmp(&a[a_row * kVocab], &b[b_row * kVocab], n * kVocab * sizeof(float)) == 0;
}

std::shared_ptr<const sampling::Sampler> greedy() {
  sampling::Options o;
  o.greedy = true;
  return std::make_shared<const sampling::Sampler>(o);
}

std::shared_ptr<const sampling::Sampler> hot() {
  sampling::Options o;
  o.temperature = 2;
  o.top_p = 0.98f;
  return std::make_shared<const sampling::Sampler>(o);
}

std::string save(Session& s) {
  std::string bytes;
  s.save([&](const void* p, std::size_t n) { bytes.append(static_cast<const char*>(p), n); });
  return bytes;
}

std::unique_ptr<Session> restore(std::shared_ptr<Context> context, const std::string& bytes,
                                 const SessionOptions& options) {
  std::size_t at = 0;
  auto s = Session::restore(std::move(context), options, [&](void* p, std::size_t n) {
    if (n > bytes.size() - at) fail(Code::kFormat, "the file ends early");
    std::memcpy(p, bytes.data() + at, n);
    at += n;
  });
  if (at != bytes.size()) fail(Code::kFormat, "bytes behind the end");
  return s;
}

}  // namespace v4i::session::test
