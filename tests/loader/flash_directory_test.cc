// The directory of the real V4-Flash: 69,187 tensors in 46 shards, as sparse files.
#include <chrono>
#include <iostream>

#include "lib/loader/checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;

TEST_CASE("the directory of V4-Flash opens with every tensor and byte counted", "[loader]") {
  const test::TempDir folder;
  test::write_sparse_checkpoint(folder.path(), test::v4_flash());
  for (int round = 0; round < 3; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const auto c = loader::Checkpoint::open(folder.path());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << "open of 69,187 tensors: " << took.count() << " s\n";
    CHECK(c->tensors().size() == 69187);
    CHECK(c->tensor_bytes() == 159'609'485'896u);
    CHECK(c->shard_count() == 46);
    const auto& last =
        c->tensors()[static_cast<std::size_t>(c->find("layers.42.ffn.experts.255.w2.weight"))];
    CHECK(last.shape == std::vector<std::int64_t>{4096, 1024});
    CHECK(*(c->view(last).data + (last.end - last.begin) - 1) == std::byte{0});  // mapped
  }
}
