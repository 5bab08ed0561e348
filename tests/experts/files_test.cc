// What is read into a slot is what is mapped, byte by byte, wherever it lies in the files.
#include <cstring>
#include <filesystem>

#include "lib/experts/expert_files.h"
#include "lib/store/slot_memory.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

using namespace v4i;

namespace {

bool same_weight(const Weight& a, const Weight& b) {
  return a.format == b.format && a.rows == b.rows && a.cols == b.cols && a.tensor == b.tensor &&
         std::memcmp(a.data, b.data, a.data_bytes()) == 0 &&
         (a.scale == nullptr ? b.scale == nullptr
                             : std::memcmp(a.scale, b.scale, a.scale_bytes()) == 0);
}

void check_all(const std::string& path, store::ReadQueue::Kind kind) {
  const auto model = model::Model::open(path);
  const experts::ExpertFiles files(model);
  store::ReadQueue::Options options;
  options.kind = kind;
  store::ReadQueue queue(options);
  Budget budget;
  const store::SlotMemory slot(budget, files.slot_bytes(), 0);
  const auto reads = std::make_unique<store::ReadRequest[]>(files.most_reads());
  std::size_t largest = 0;
  for (int l = 0; l < files.layers(); ++l)
    for (std::int32_t e = 0; e < files.experts(); ++e) {
      std::memset(slot.data(), 0xee, files.slot_bytes());
      const std::size_t n = files.plan({l, e}, slot.data(), {reads.get(), files.most_reads()});
      std::size_t bytes = 0;
      for (std::size_t i = 0; i < n; ++i) {
        store::ReadRequest* r = &reads[i];
        REQUIRE(r->offset % 4096 == 0);
        REQUIRE(reinterpret_cast<std::uintptr_t>(r->to) % 4096 == 0);
        REQUIRE(r->bytes % 4096 == 0);
        bytes += r->bytes;
        queue.submit({&r, 1});
        while (!queue.wait(*r, 1'000'000'000)) {
        }
      }
      largest = std::max(largest, bytes);
      files.check({l, e}, {reads.get(), n});
      const model::Expert got = files.view({l, e}, slot.data());
      const model::Expert& want = model->block(l).ffn.experts[std::size_t(e)];
      CAPTURE(path, l, e);
      CHECK(got.w1.data != want.w1.data);
      CHECK(same_weight(got.w1, want.w1));
      CHECK(same_weight(got.w2, want.w2));
      CHECK(same_weight(got.w3, want.w3));
    }
  CHECK(largest == files.slot_bytes());
}

}  // namespace

TEST_CASE("every expert of every layer arrives as it is mapped", "[experts]") {
  for (const auto kind : {store::ReadQueue::Kind::kBest, store::ReadQueue::Kind::kThreads}) {
    check_all(test::make_tiny(0), kind);
    check_all(test::source_dir() + "/examples/nano/model", kind);
  }
}

TEST_CASE("the matrices of an expert may lie in several shards, in any order", "[experts]") {
  const test::TempDir dir;
  const std::string from = test::make_tiny(0);
  const test::StFile all = test::read_safetensors(from + "/model.safetensors");
  test::StFile shards[3];
  std::size_t n = 0;
  for (const auto& [name, tensor] : all) shards[n++ * 7 % 3].emplace(name, tensor);
  for (int i = 0; i < 3; ++i)
    test::write_safetensors(dir.file("model-" + std::to_string(i) + ".safetensors"), shards[i]);
  std::filesystem::copy_file(from + "/config.json", dir.file("config.json"));
  check_all(dir.path(), store::ReadQueue::Kind::kBest);
}

TEST_CASE("neighbours are read together", "[experts]") {
  const auto model = model::Model::open(test::source_dir() + "/examples/nano/model");
  const experts::ExpertFiles files(model);  // 26,112 bytes of an expert, side by side
  CHECK(files.most_reads() == 1);
  CHECK(files.slot_bytes() <= 26112 + 2 * 4096);
}

TEST_CASE("a shard that is gone is named when it is opened", "[experts]") {
  const test::TempDir dir;
  test::copy_model(test::make_tiny(0), dir.path());
  const auto model = model::Model::open(dir.path());
  const std::string shard = dir.file("model.safetensors");
  test::write_file(dir.file("other"), test::read_file(shard).substr(0, 5000));
  std::filesystem::rename(dir.file("other"), shard);
  CHECK_THAT(test::refusal([&] { experts::ExpertFiles files(model); }),
             Catch::Contains(shard + ": has 5000 bytes, and had "));
  std::filesystem::remove(shard);
  CHECK_THAT(test::refusal([&] { experts::ExpertFiles files(model); }),
             Catch::Contains(shard + ": cannot open: "));
}

TEST_CASE("slots are counted, and a full budget gives none", "[experts]") {
  Budget budget(100000);
  {
    store::SlotMemory a(budget, 40960, 100), b(budget, 40960, 100);
    CHECK(a);
    CHECK(b);
    CHECK(budget.used(Use::kWeights) == 2 * 41060);
    const store::SlotMemory none(budget, 40960, 0);
    CHECK_FALSE(none);
    const store::SlotMemory moved = std::move(a);
    CHECK(moved);
    CHECK(budget.used() == 2 * 41060);
  }
  CHECK(budget.used() == 0);
}
