// The image tower against the oracle, and what must not change its bits.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "lib/model/binder.h"
#include "tests/forward/rig.h"
#include "tests/forward/vision_rig.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::test;
using forward::cpu::encode_image;

namespace {

double greatest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(double{a[i]} - b[i]);
    if (!(d <= most)) most = d;  // NaN, too
  }
  return most;
}

double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::fabs(double{a[i]} - b[i]);
  return sum / static_cast<double>(a.size());
}

// The tables that an image is compared with: a large one with the best alone.
std::vector<const char*> tables_for(const GoldenImage& image) {
  std::vector<const char*> names = kernel_names();
  if (image.grid.patches() > 1000) names.resize(1);
  return names;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("exact embeddings of images are those of the oracle", "[forward][vision]") {
  double most = 0;
  for (int seed = 0; seed < seeds(6); ++seed) {
    const VisionRig& rig = VisionRig::of(seed);
    REQUIRE(rig.images.size() == (seed == 0 ? 5 : 4));
    for (const GoldenImage& image : rig.images)
      for (const char* kernels : tables_for(image)) {
        CAPTURE(seed, kernels, image.grid.height, image.grid.width);
        const double d = greatest_difference(rig.encode(image, false, 2, kernels), image.exact);
        CHECK(d <= 1e-4);
        most = std::max(most, d);
      }
  }
  WARN("greatest difference of exact embeddings " << most);
}

// A flipped rounding changes an activation by 2^-8 of itself, and they add up: the oracle itself
// moves by about as much between float32 and bf16.
TEST_CASE("native embeddings are as near to the oracle's as rounding allows", "[forward][vision]") {
  for (int seed = 0; seed < seeds(6); ++seed) {
    const VisionRig& rig = VisionRig::of(seed);
    for (const GoldenImage& image : rig.images)
      for (const char* kernels : tables_for(image)) {
        CAPTURE(seed, kernels, image.grid.height, image.grid.width);
        const double rounding = mean_difference(image.native, image.exact);
        const std::vector<float> ours = rig.encode(image, true, 2, kernels);
        CHECK(mean_difference(ours, image.native) < 1.2 * rounding);
        CHECK(mean_difference(ours, image.exact) < 1.5 * rounding);
        CHECK(std::all_of(ours.begin(), ours.end(), [](float v) {
          std::uint32_t bits;
          std::memcpy(&bits, &v, sizeof bits);
          return (bits & 0xffff) == 0;
        }));
      }
  }
}

TEST_CASE("embeddings of an image have the same bits for any number of threads",
          "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  for (const bool native : {false, true})
    for (const GoldenImage& image : rig.images) {
      CAPTURE(native, image.grid.height, image.grid.width);
      const std::vector<float> one = rig.encode(image, native, 1);
      for (const int threads : {2, 3, 7}) CHECK(same_bits(rig.encode(image, native, threads), one));
    }
}

TEST_CASE("rows and columns of patches are not taken for each other", "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  const GoldenImage& wide = rig.images[0];  // 4 x 5
  GoldenImage turned = wide;
  std::swap(turned.grid.height, turned.grid.width);
  CHECK(greatest_difference(rig.encode(turned, false), wide.exact) > 0.01);
}

TEST_CASE("a weight of the image tower that is no number is named", "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  for (const char* tensor :
       {"vision.patch_embed.proj.weight", "vision.blocks.1.attn.wqkv.weight",
        "vision.blocks.0.attn.wo.weight", "vision.blocks.1.mlp.w1.weight",
        "vision.blocks.1.mlp.w2.weight", "aligner.w1.weight", "aligner.w2.weight"})
    for (const char* code : {"\xc0\x7f", "\x80\xff"}) {  // NaN, -infinity
      CAPTURE(tensor);
      const VisionRig bad(rig,
                          [&](StFile& tower) { tower.at(tensor).bytes.replace(300, 2, code); });
      std::string name = tensor;
      if (const std::size_t at = name.find(".mlp."); at != std::string::npos)
        name.replace(at, 5, ".ffn.");
      for (const bool native : {false, true})
        CHECK(refusal([&] {
                bad.encode(bad.images[1], native);
              }).find("tensor " + name + ": element 150 ") != std::string::npos);
    }
}

TEST_CASE("weights so large that results are infinite end in a sentence", "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  for (const char* tensor : {"vision.blocks.0.attn.wqkv.weight", "vision.blocks.1.mlp.w2.weight",
                             "aligner.w1.weight", "aligner.w2.weight"}) {
    CAPTURE(tensor);
    const VisionRig bad(rig, [&](StFile& tower) {
      std::string& bytes = tower.at(tensor).bytes;
      for (std::size_t i = 0; i < bytes.size(); i += 2) bytes.replace(i, 2, "\x7f\x7f");  // 3.4e38
    });
    for (const bool native : {false, true})
      CHECK(refusal([&] {
              bad.encode(bad.images[1], native);
            }).find("of the image tower are no finite numbers") != std::string::npos);
  }
}

TEST_CASE("linears of the image tower may lack their bias, as the oracle has it",
          "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  const auto without = [&](bool zeros) {
    return VisionRig(rig, [&](StFile& tower) {
      for (auto it = tower.begin(); it != tower.end();) {
        const bool bias = it->first.ends_with(".bias") &&
                          (it->first.starts_with("vision.") || it->first.starts_with("aligner."));
        if (bias && zeros) it->second.bytes.assign(it->second.bytes.size(), '\0');
        it = bias && !zeros ? tower.erase(it) : std::next(it);
      }
    });
  };
  const VisionRig absent = without(false), zero = without(true);
  REQUIRE(absent.weights.patch.bias.empty());
  for (const bool native : {false, true})
    CHECK(same_bits(absent.encode(rig.images[0], native), zero.encode(rig.images[0], native)));
}

TEST_CASE("the image tower takes memory from the budget and gives it back", "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  const GoldenImage& image = rig.images[3];  // 26 x 23
  const kernels::KernelTable& kernels = *kernels::select_kernels(nullptr);
  ThreadPool pool(2);
  std::vector<float> out(image.exact.size());
  const auto encode = [&](Budget& budget, bool native) {
    encode_image(rig.tower(kernels, pool, budget, native), image.grid, image.patches.data(),
                 out.data(), nullptr);
  };
  for (const bool native : {false, true}) {
    Budget roomy;
    encode(roomy, native);
    CHECK(roomy.used() == 0);
    for (std::uint64_t cap = 0; cap < roomy.peak(); cap += roomy.peak() / 40 + 1) {
      Budget tight(cap);
      CHECK(refusal_code([&] { encode(tight, native); }) == Code::kNoMemory);
      CHECK(tight.used() == 0);
    }
  }
}

TEST_CASE("memory of the image tower grows with the patches, not with their square",
          "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  const auto peak = [&](const GoldenImage& image) {
    Budget budget;
    ThreadPool pool(1);
    std::vector<float> out(image.exact.size());
    encode_image(rig.tower(*kernels::select_kernels(nullptr), pool, budget, true), image.grid,
                 image.patches.data(), out.data(), nullptr);
    return static_cast<double>(budget.peak());
  };
  const GoldenImage &some = rig.images[3], &many = rig.images[4];
  const auto patches = static_cast<double>(many.grid.patches() - some.grid.patches());
  const auto width = static_cast<double>(rig.model->config().vision.width);
  // x, q, k and v in float32
  CHECK(peak(many) - peak(some) < 1.1 * patches * width * 4 * sizeof(float));
}

namespace {

// A table whose products and attention set a flag in the `countdown`th call, and count those that
// follow.
CancelFlag cancel_in_call;
std::atomic<int> countdown, calls_after;
const kernels::KernelTable* wrapped = nullptr;

void count_call() {
  if (countdown.fetch_sub(1) == 1) cancel_in_call.signal();
  if (cancel_in_call.is_set()) calls_after.fetch_add(1);
}

void linear_that_cancels(const kernels::LinearArgs& a) {
  count_call();
  wrapped->linear(a);
}

bool attention_that_cancels(const kernels::DenseAttentionArgs& a) {
  count_call();
  return wrapped->dense_attention(a);
}

}  // namespace

TEST_CASE("an image's encoding stops soon after it is cancelled", "[forward][vision]") {
  const VisionRig& rig = VisionRig::of(0);
  const GoldenImage& image = rig.images[4];
  wrapped = kernels::select_kernels(nullptr);
  kernels::KernelTable table = *wrapped;
  table.linear = linear_that_cancels;
  table.dense_attention = attention_that_cancels;
  table.prepare = nullptr;
  ThreadPool pool(2);
  Budget budget;
  std::vector<float> out(image.exact.size());
  const auto encode = [&] {
    calls_after = 0;
    encode_image(rig.tower(table, pool, budget, true), image.grid, image.patches.data(), out.data(),
                 &cancel_in_call);
  };
  countdown = 1 << 30;
  encode();
  const int all = (1 << 30) - countdown.load();
  REQUIRE(all > 1000);
  // How many calls there are depends on how a pool shares; the last product is not looked into.
  for (int at = 1; at <= all; at += all / 17 + 1) {
    CAPTURE(at, all);
    countdown = at;
    cancel_in_call.reset();
    const auto code = refusal_code(encode);
    if (at < all / 2) CHECK(code == Code::kCancelled);
    CHECK(calls_after.load() < 200);  // one query block of a thread, or a product's pieces
    CHECK(budget.used() == 0);
  }
  cancel_in_call.signal();
  countdown = 1 << 30;
  CHECK(refusal_code(encode) == Code::kCancelled);
  CHECK(calls_after.load() == 0);
  cancel_in_call.reset();
}
