// A thousand damaged checkpoints: each is refused with a sentence or is a model that
// can be read from end to end.  Run it under ASan and UBSan as well.
#include <filesystem>
#include <iostream>

#include "lib/base/thread_pool.h"
#include "lib/model/model.h"
#include "tests/support/catch.h"
#include "tests/support/mutator.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;

namespace {

using test::Mutator;

// Reads every byte that the forward pass may read.
void read_all(const Model& m) {
  ThreadPool pool(1);
  m.touch_all(pool);
  for (const Block& b : m.weights().layers)
    for (const std::int32_t e : b.ffn.tid2eid) REQUIRE((e >= 0 && e < m.config().experts));
}

struct Files {
  std::string tensors, index, config;
};

void damage(Files& f, Mutator& mutate) {
  const std::size_t header_end = 8 + [&] {
    std::uint64_t n = 0;
    for (int i = 7; i >= 0; --i) n = n << 8 | static_cast<unsigned char>(f.tensors[i]);
    return n;
  }();
  switch (mutate.below(8)) {
    case 0:
      return mutate.flip_byte(f.tensors, 0, 8);
    case 1:
    case 2:
      return mutate.text(f.tensors, 8, header_end);
    case 3:
      return mutate.text(f.index, 0, f.index.size());
    case 4:
      return mutate.text(f.config, 0, f.config.size());
    case 5:
      return f.tensors.resize(mutate.below(f.tensors.size()));
    case 6:
      return f.config.resize(mutate.below(f.config.size()));
    default:  // bytes of tensors: scales, weights, tables
      for (int i = 0; i < 20; ++i) mutate.flip_byte(f.tensors, header_end, f.tensors.size());
  }
}

}  // namespace

TEST_CASE("a thousand damaged checkpoints are refused with a sentence or load", "[model][fuzz]") {
  const test::TempDir dir;
  const std::string shard = "m-00001-of-00001.safetensors";
  test::V4Shape shape = test::odd_shape();
  shape.experts = 3;
  test::write_random_checkpoint(dir.path(), shape, 1);
  const test::StFile file = test::read_safetensors(dir.file("model.safetensors"));
  test::write_index(dir.path(), {{shard, file}});
  const Files whole = {test::read_file(dir.file("model.safetensors")),
                       test::read_file(dir.file("model.safetensors.index.json")),
                       test::read_file(dir.file("config.json"))};
  std::filesystem::remove(dir.file("model.safetensors"));
  int refused = 0, loaded = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    CAPTURE(seed);
    Files f = whole;
    Mutator mutate(seed);
    const std::size_t rounds = 1 + mutate.below(2);
    damage(f, mutate);
    if (rounds == 2) mutate.text(f.config, 0, f.config.size());
    test::write_file(dir.file(shard), f.tensors);
    test::write_file(dir.file("model.safetensors.index.json"), f.index);
    test::write_file(dir.file("config.json"), f.config);
    try {
      read_all(*Model::open(dir.path()));
      ++loaded;
    } catch (const Error& e) {
      ++refused;
      const bool expected =
          e.code() == Code::kFormat || e.code() == Code::kUnsupported || e.code() == Code::kIo;
      CAPTURE(e.text());
      CHECK(expected);
      CHECK(e.text().size() > dir.path().size() + 10);
      CHECK(e.text().find('\n') == std::string::npos);
    }
  }
  std::cout << "1,000 damaged checkpoints: " << refused << " refused, " << loaded << " loaded\n";
  CHECK(refused > 500);
  CHECK(loaded > 50);
}
