// What a launch on a device must not do is told: stores outside of buffers, foreign addresses.
#include <string>

#include "kernels/cuda/norm.h"
#include "tests/cuda/emulate/run.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using emulate::Buffer;

// One row of 64 floats from one place to another.
std::string copied(const float* from, float* to) {
  const EmbedArgs a{from, to, 1, 1, 64};
  try {
    emulate::run(launch_embed(a), a, 0);
  } catch (const emulate::Failure& f) {
    return f.what();
  }
  return {};
}

bool has(const std::string& text, const char* piece) { return text.find(piece) != text.npos; }

TEST_CASE("a store behind a buffer or in front of it is told, once", "[cuda][on_device]") {
  const Buffer<float> from(64, 1.0f);
  Buffer<float> to(64), shorter(60);
  CHECK(copied(from.data(), to.data()).empty());
  CHECK(to.same_bits(from));
  CHECK(has(copied(from.data(), shorter.data()), "a store at byte 240 of a buffer of 240"));
  CHECK(has(copied(from.data(), to.data() - 4), "a store 16 bytes in front of a buffer of 256"));
  CHECK(copied(from.data(), to.data()).empty());
}

TEST_CASE("an address that is in no buffer is refused before the launch", "[cuda][on_device]") {
  const std::vector<float> elsewhere(64, 1.0f);
  Buffer<float> to(64);
  CHECK(has(copied(elsewhere.data(), to.data()), "byte 0 of the arguments"));
}

}  // namespace
}  // namespace v4i
