// KernelTable::prepare: with tokens that were made ready beforehand, part by part, products have
// the bits that they have without.
#include <cstring>
#include <vector>

#include "tests/kernels/weights.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using namespace v4i::test;

namespace {

struct Product {
  const KernelTable* table;
  bool int8;

  void prepare(const LinearArgs& a, int part, int parts, void* out) const {
    (int8 ? table->prepare_int8 : table->prepare)(a, part, parts, out);
  }
  void multiply(const LinearArgs& a) const { (int8 ? table->linear_int8 : table->linear)(a); }
};

std::vector<Product> products(Format f) {
  std::vector<Product> out;
  for (const KernelTable* t : tables()) {
    if (t->prepare != nullptr) out.push_back({t, false});
    if (t->prepare_int8 != nullptr && (f == Format::kFp8 || f == Format::kFp4))
      out.push_back({t, true});
  }
  return out;
}

// A call for `tokens` rows of x, last first.
struct Call {
  RandomWeight w;
  std::vector<float> x;
  std::vector<std::int32_t> row;
  std::unique_ptr<float[]> scratch;

  Call(Form f, std::int64_t rows, std::int64_t cols, std::int64_t tokens)
      : w(f.format, rows, cols, f.block, 9),
        x(normal_bf16(std::size_t(tokens * cols), 4)),
        scratch(linear_scratch(cols)) {
    for (std::int64_t t = tokens; t-- > 0;) row.push_back(std::int32_t(t));
  }

  std::int64_t tokens() const { return std::int64_t(row.size()); }
  std::vector<float> run(const Product& p, const void* prepared) {
    std::vector<float> y(std::size_t(tokens() * w.w.rows), -1.0f);
    LinearArgs a = args();
    a.prepared = prepared;
    a.y = y.data();
    a.y_stride = w.w.rows;
    for (std::int64_t r = 0; r < w.w.rows; r = a.row_end) {
      a.row_begin = r;
      a.row_end = std::min(r + 11, w.w.rows);
      p.multiply(a);
    }
    return y;
  }
  LinearArgs args() {
    return {w.w, 0,        w.w.rows, x.data(),      w.w.cols, row.data(), nullptr,
            0,   tokens(), true,     scratch.get(), 0,        true};
  }
};

constexpr std::uint8_t kUntouched = 0xa5;

}  // namespace

TEST_CASE("tokens that were prepared give the same bits", "[kernels][prepare]") {
  for (const Form& f : kForms)
    for (std::int64_t cols : {32, 128, 1152, 2048})
      for (std::int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 12, 13, 18, 19, 24, 25, 48, 49, 100})
        for (const Product& p : products(f.format)) {
          Call call(f, 45, cols, tokens);
          const auto want = call.run(p, nullptr);
          const auto room = std::size_t(linear_prepared_bytes(cols, tokens));
          for (int parts : {1, 3, 8}) {
            std::vector<std::uint8_t> made(room + 64, kUntouched);
            for (int i = parts; i-- > 0;) p.prepare(call.args(), i, parts, made.data());
            CAPTURE(p.table->name, p.int8, int(f.format), f.block, cols, tokens, parts);
            const auto got = call.run(p, made.data());
            REQUIRE(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0);
            for (std::size_t i = room; i < made.size(); ++i) REQUIRE(made[i] == kUntouched);
          }
        }
}

TEST_CASE("prepared tokens may be more than a call packs at once", "[kernels][prepare]") {
  constexpr std::int64_t kCols = 16384;
  for (const Product& p : products(Format::kFp8))
    for (int block : {32, 128}) {
      const std::int64_t tokens = (p.int8 ? linear_int8_tokens(kCols) : linear_tokens(kCols)) + 7;
      Call call({Format::kFp8, block}, 9, kCols, tokens);
      std::vector<std::uint8_t> made(std::size_t(linear_prepared_bytes(kCols, tokens)));
      p.prepare(call.args(), 0, 1, made.data());
      CAPTURE(p.table->name, p.int8, block, tokens);
      REQUIRE(call.run(p, made.data()) == call.run(p, nullptr));
    }
}
