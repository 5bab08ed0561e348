// Damaged V4.1 checkpoints: configs, headers, class maps, n-gram tables, weights.  Each is refused
// with a sentence, or computes.  Run it under ASan and UBSan as well; V4I_TEST_DAMAGE says how
// many.
#ifndef V4I_TEST_CUDA  // which runs V4
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/mutator.h"

using namespace v4i;
using namespace v4i::session;
using namespace v4i::session::test;

namespace {

namespace fs = std::filesystem;
using v4i::test::Mutator;

const char* const kFiles[] = {"config.json", "engram_token_map.json",
                              "model-00002-of-00002.safetensors",  // the tables
                              "model.safetensors.index.json", "model-00001-of-00002.safetensors"};

int wanted() {
  const char* n = std::getenv("V4I_TEST_DAMAGE");
  return n == nullptr ? 200 : std::atoi(n);
}

std::size_t header_end(const std::string& shard) {
  std::uint64_t n = 0;
  for (int i = 7; i >= 0; --i) n = n << 8 | static_cast<unsigned char>(shard[std::size_t(i)]);
  return 8 + n;
}

// Mostly configs, as they decide the most.
std::size_t damage(std::string* files, Mutator& mutate) {
  constexpr std::size_t kWhich[] = {0, 0, 0, 0, 1, 2, 2, 3, 4, 4};
  const std::size_t which = kWhich[mutate.below(std::size(kWhich))];
  std::string& f = files[which];
  if (which == 2 || which == 4) {
    const std::size_t head = header_end(f);
    if (mutate.below(2) == 0) {
      mutate.text(f, 0, head);
    } else {
      for (int i = 0; i < 20; ++i) mutate.flip_byte(f, head, f.size());
    }
    if (mutate.below(8) == 0) f.resize(mutate.below(f.size()));
  } else if (mutate.below(10) == 0) {
    f.resize(mutate.below(f.size()));
  } else {
    for (std::size_t i = 0; i <= mutate.below(2); ++i) mutate.text(f, 0, f.size());
  }
  return which;
}

void compute(const std::string& path) {
  Open o;
  o.path = path;
  o.context = 0;
  const auto context = open(o);
  SessionOptions options;
  options.context_size = std::min<std::int64_t>(64, context->context_max());
  Session s(context, options);
  Ids ids;
  for (int i = 0; i < 24; ++i) ids.push_back((i * 37 + 5) % static_cast<int>(context->vocab()));
  s.append(ids);
  s.prefill({});
  if (!context->model().weights().vision.present()) return;
  const std::vector<std::uint8_t> gray(3 * 20 * 30, 100);
  s.append_image({gray.data(), 20, 30, 60, 3});
  s.prefill({});
}

}  // namespace

TEST_CASE("damaged V4.1 checkpoints are refused with a sentence or compute", "[session][fuzz]") {
  const std::string whole = v4i::test::make_tiny_v41(0, 96);
  const v4i::test::TempDir dir;
  int refused = 0, computed = 0;
  for (int seed = 0; seed < wanted(); ++seed) {
    CAPTURE(seed);
    std::string files[std::size(kFiles)];
    for (std::size_t i = 0; i < std::size(kFiles); ++i) {
      files[i] = v4i::test::read_file(whole + "/" + kFiles[i]);
      fs::remove(dir.file(kFiles[i]));
      fs::create_hard_link(whole + "/" + kFiles[i], dir.file(kFiles[i]));
    }
    Mutator mutate(static_cast<std::uint64_t>(seed));
    const std::size_t which = damage(files, mutate);
    fs::remove(dir.file(kFiles[which]));
    v4i::test::write_file(dir.file(kFiles[which]), files[which]);
    try {
      compute(dir.path());
      ++computed;
    } catch (const Error& e) {
      ++refused;
      CAPTURE(e.text(), kFiles[which]);
      CHECK(e.code() != Code::kInternal);
      CHECK(e.text().size() > 10);
      CHECK(e.text().find('\n') == std::string::npos);
    }
  }
  std::cout << wanted() << " damaged V4.1 checkpoints: " << refused << " refused, " << computed
            << " computed\n";
  CHECK(refused > wanted() / 4);
  CHECK(computed > wanted() / 20);
}

#endif
