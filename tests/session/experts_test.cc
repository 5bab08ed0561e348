// A context under a budget chooses where its experts lie, and keeps what it learned of them.
#include <sys/stat.h>

#include <filesystem>

#include "lib/experts/heat_file.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::session::test;
namespace ses = v4i::session;

namespace {

std::shared_ptr<ses::Context> open_under(std::uint64_t cap, ses::OpenOptions options = {}) {
  ses::EngineOptions engine;
  engine.threads = 1;
  engine.host_bytes = cap;
  options.path = tiny(0);
  options.context_hint = 1024;
  options.max_batch_tokens = 4;
  return ses::Context::open(std::make_shared<ses::Engine>(engine), options);
}

Logits logits_of(std::shared_ptr<ses::Context> context, const Ids& ids) {
  return eval(*make_session(std::move(context)), ids);
}

}  // namespace

TEST_CASE("experts lie in slots where the checkpoint does not fit the budget", "[session]") {
  const auto roomy = open_under(0);
  const std::uint64_t bytes = roomy->model().tensor_bytes();
  CHECK(roomy->experts().stats().slots == 0);
  CHECK(open_under(bytes + (64u << 20))->experts().stats().slots == 0);

  ses::OpenOptions cached;
  cached.experts = experts::Placement::kCached;
  cached.expert_slots = 3;
  const auto few = open_under(0, cached);
  const Ids ids = make_ids(80);
  const Logits want = logits_of(roomy, ids);
  CHECK(same_rows(logits_of(few, ids), 0, want, 0, ids.size()));
  CHECK(few->experts().stats().slots == 3);

  // A budget below the checkpoint, in which everything else has room.
  const auto tight = open_under(bytes - 1);
  CHECK(tight->experts().stats().slots > 0);
  CHECK(same_rows(logits_of(tight, ids), 0, want, 0, ids.size()));
  CHECK(tight->engine().budget().peak() < bytes);
}

TEST_CASE("the heat of experts is kept in a file of the model, and a bad one is ignored",
          "[session]") {
  const v4i::test::TempDir dir;
  std::vector<std::string> said;
  ses::OpenOptions options;
  options.experts = experts::Placement::kCached;
  options.expert_slots = 12;
  options.log = [&](const std::string& text) { said.push_back(text); };
  const Ids ids = make_ids(100);
  const auto open = [&] {
    auto context = open_under(0, options);
    context->keep_heat_in(dir.path());
    context->keep_heat_in("/another/folder");  // comes too late
    return context;
  };
  Logits want;
  std::string path;
  {
    const auto first = open();
    CHECK(first->experts().stats().hint_reads == 0);
    want = logits_of(first, ids);
    path = experts::heat_path(dir.path(), first->model().digest());
    CHECK(path == dir.path() + "/experts-" + to_hex(first->model().digest()) + ".heat");
    CHECK_FALSE(std::filesystem::exists(path));
  }
  struct stat st;
  REQUIRE(::stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  {
    const auto second = open();
    CHECK(second->experts().stats().hint_reads == 12);
    CHECK(same_rows(logits_of(second, ids), 0, want, 0, ids.size()));
    CHECK(second->experts().stats().hint_hits > 0);
  }
  CHECK(said.empty());
  std::string bytes = v4i::test::read_file(path);
  bytes[bytes.size() / 2] ^= 4;
  v4i::test::write_file(path, bytes);
  {
    const auto third = open();
    REQUIRE(said.size() == 1);
    CHECK(has(said[0], path + ": ignored"));
    CHECK(third->experts().stats().hint_reads == 0);
    CHECK(same_rows(logits_of(third, ids), 0, want, 0, ids.size()));
  }
  {
    const auto mended = open();
    CHECK(said.size() == 1);
    CHECK(mended->experts().stats().hint_reads == 12);
    std::filesystem::remove_all(dir.path());
  }
  REQUIRE(said.size() == 2);
  CHECK(has(said[1], "the heat of the experts is not kept: "));
}
