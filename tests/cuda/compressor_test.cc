// Compressed rows against their definition (lib/forward/cpu/compressor.cc), written here from the
// scalar kernels.
#include "kernels/cuda/compressor.h"

#include "kernels/cpu/tables.h"
#include "kernels/ops.h"
#include "kernels/quant.h"
#include "tests/cuda/stored_rows.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using test::Span;

struct Shape {
  int dim, index_dim, rope, ratio;  // index_dim 0: no indexer
  bool overlap, native;
  int rows_per_block;
  bool flat = false;  // equal gates and values of few bits: pooling is exact in any order
};

constexpr int kRollback = 3;
constexpr std::int64_t kOffset = 48;  // of the layer's ring in the fixed state
constexpr float kEps = 1e-6f;

// A layer's compressors.  What a token's products give depends on sequence and position alone, so
// that runs can be compared that cut the same sequences differently.
class Layer {
 public:
  Layer(const Shape& shape, unsigned seed) : s(shape), seed_(seed) {
    for (const int dim : {s.dim, s.index_dim}) {
      if (dim == 0) continue;
      const int width = s.overlap ? 2 * dim : dim;
      dims.push_back(dim);
      slots.push_back(floats);
      floats += 2 * width;
      ape.emplace_back(test::normal(static_cast<std::size_t>(s.ratio * width), seed++));
      gain.emplace_back(test::normal_bf16(static_cast<std::size_t>(dim), seed++));
    }
    for (int i = 0; i < s.rope / 2; ++i)
      frequency.push_back(
          1.0f / std::pow(1e4f, 2.0f * static_cast<float>(i) / static_cast<float>(s.rope)));
    for (auto& bias : ape)
      if (s.flat) bias.fill(0.5f);
    partial_slots = s.ratio * (s.overlap ? 2 : 1) + kRollback;
  }

  int parts() const { return static_cast<int>(dims.size()); }
  int width(int part) const {
    const int dim = dims[static_cast<std::size_t>(part)];
    return s.overlap ? 2 * dim : dim;
  }
  // Of a stored row; main rows are padded to a multiple of 8.
  int row_bytes(int part) const {
    const int dim = dims[static_cast<std::size_t>(part)];
    if (!s.native) return 4 * dim;
    if (part == 1) return dim / 2 + (dim + 31) / 32;
    const int plain = dim - s.rope;
    return (plain + 2 * s.rope + (plain + 63) / 64 + 7) / 8 * 8;
  }

  std::vector<float> products(int sequence, std::int64_t position) const {
    auto x = test::normal(
        static_cast<std::size_t>(floats),
        seed_ + 100000u * static_cast<unsigned>(sequence + 1) + static_cast<unsigned>(position));
    if (!s.flat) return x;
    for (float& v : x) v = std::round(v * 8) / 8;
    for (int p = 0; p < parts(); ++p)
      std::fill_n(x.begin() + slots[static_cast<std::size_t>(p)] + width(p), width(p), 0.25f);
    return x;
  }
  // With the bias of the position on the gates, as rings hold them.
  std::vector<float> finished(int sequence, std::int64_t position) const {
    auto x = products(sequence, position);
    for (int p = 0; p < parts(); ++p)
      for (int c = 0; c < width(p); ++c)
        x[static_cast<std::size_t>(slots[static_cast<std::size_t>(p)] + width(p) + c)] +=
            ape[static_cast<std::size_t>(p)]
               [static_cast<std::size_t>(position % s.ratio * width(p) + c)];
    return x;
  }

  Shape s;
  std::vector<int> dims, slots;
  int floats = 0, partial_slots;
  std::vector<emulate::Buffer<float>> ape, gain;
  std::vector<float> frequency;

 private:
  unsigned seed_;
};

// What the definition makes of row `row` of a part.
std::vector<float> true_row(const Layer& l, int part, int sequence, std::int64_t row) {
  const auto i = static_cast<std::size_t>(part);
  const int dim = l.dims[i];
  std::vector<std::vector<float>> kept;
  std::vector<const float*> value;
  const auto add = [&](std::int64_t position, int offset) {
    kept.push_back(l.finished(sequence, position));
    value.push_back(kept.back().data() + l.slots[i] + offset);
  };
  kept.reserve(static_cast<std::size_t>(2 * l.s.ratio));
  const std::int64_t first = row * l.s.ratio;
  if (l.s.overlap && row > 0)
    for (std::int64_t p = first - l.s.ratio; p < first; ++p) add(p, 0);
  for (std::int64_t p = first; p < first + l.s.ratio; ++p) add(p, l.s.overlap ? dim : 0);
  std::vector<float> x(static_cast<std::size_t>(dim));
  kernels::kScalarKernels.pool(
      {value.data(), static_cast<int>(value.size()), l.width(part), 0, dim, x.data()});
  const auto round = [&] {
    if (l.s.native) kernels::round_bf16(x.data(), dim);
  };
  round();
  kernels::rms_norm(x.data(), l.gain[i].data(), dim, kEps, x.data());
  round();
  std::vector<float> turn(static_cast<std::size_t>(l.s.rope));
  for (std::size_t c = 0; c < l.frequency.size(); ++c) {
    const double angle = static_cast<float>(first) * l.frequency[c];
    turn[c] = static_cast<float>(std::cos(angle));
    turn[l.frequency.size() + c] = static_cast<float>(std::sin(angle));
  }
  kernels::rope(x.data() + dim - l.s.rope, turn.data(), l.s.rope, false);
  round();
  if (part == 1 && l.s.native) {
    kernels::hadamard(x.data(), dim);
    round();
  }
  return x;
}

std::vector<std::uint8_t> stored(const Layer& l, int part, const std::vector<float>& x) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(l.row_bytes(part)));
  const auto dim = static_cast<int>(x.size());
  if (!l.s.native)
    std::memcpy(out.data(), x.data(), out.size());
  else if (part == 0)
    kernels::pack_row(x.data(), dim, l.s.rope, out.data());
  else
    kernels::pack_key(x.data(), dim, out.data());
  return out;
}

std::vector<float> read(const Layer& l, int part, const std::uint8_t* row) {
  const int dim = l.dims[static_cast<std::size_t>(part)];
  std::vector<float> x(static_cast<std::size_t>(dim));
  if (!l.s.native)
    std::memcpy(x.data(), row, x.size() * sizeof x[0]);
  else if (part == 0)
    kernels::unpack_row(row, dim, l.s.rope, x.data());
  else
    kernels::unpack_key(row, dim, x.data());
  return x;
}

// One run over `spans`; what earlier runs left in the rings is made from the layer's description.
class Run {
 public:
  Run(const Layer& l, const std::vector<Span>& spans) : layer(l), spans_(spans) {
    std::vector<std::int64_t> rows;
    for (const Span& s : spans) {
      const auto index = static_cast<std::size_t>(s.sequence);
      rows.resize(std::max(rows.size(), index + 1));
      rows[index] = (s.start + s.count) / l.s.ratio;
    }
    const std::size_t ring = static_cast<std::size_t>(l.partial_slots * l.floats) * 4;
    std::vector<Sequence> sequences(rows.size());
    for (const Span& s : spans) {
      rings_.emplace_back(static_cast<std::size_t>(kOffset) + ring);
      Sequence& q = sequences[static_cast<std::size_t>(s.sequence)];
      q.fixed = rings_.back().data();
      for (std::int64_t p = std::max<std::int64_t>(0, s.start - l.partial_slots); p < s.start; ++p)
        std::memcpy(rings_.back().data() + kOffset + p % l.partial_slots * l.floats * 4,
                    l.finished(s.sequence, p).data(), static_cast<std::size_t>(l.floats) * 4);
    }
    sequence_ = emulate::Buffer<Sequence>(sequences);
    token_ = emulate::Buffer<Token>(test::tokens_of(spans));
    frequency_ = emulate::Buffer<float>(l.frequency);
    for (int p = 0; p < l.parts(); ++p)
      stored_.emplace_back(rows, l.s.rows_per_block, l.row_bytes(p));
  }

  CompressorArgs args() {
    CompressorArgs a;
    a.parts = layer.parts();
    for (int p = 0; p < a.parts; ++p) {
      const auto i = static_cast<std::size_t>(p);
      a.part[p] = {layer.ape[i].data(), layer.gain[i].data(), layer.dims[i], layer.slots[i],
                   stored_[i].table()};
    }
    a.tokens = static_cast<std::int32_t>(token_.size());
    a.token = token_.data();
    a.sequence = sequence_.data();
    a.partial = partial_.data();
    a.floats = layer.floats;
    a.partial_slots = layer.partial_slots;
    a.partial_offset = kOffset;
    a.frequency = frequency_.data();
    a.eps = kEps;
    a.rope = layer.s.rope;
    a.ratio = layer.s.ratio;
    a.overlap = layer.s.overlap ? 1 : 0;
    a.native = layer.s.native ? 1 : 0;
    return a;
  }

  void go(std::uint64_t seed) {
    std::vector<float> staged;
    for (const Token& t : token_) {
      const auto x = layer.products(t.sequence, t.position);
      staged.insert(staged.end(), x.begin(), x.end());
    }
    partial_ = emulate::Buffer<float>(staged);
    for (test::StoredRows& s : stored_) s.poison();
    emulate::run(launch_add_ape(args()), args(), seed);
    for (std::size_t t = 0; t < token_.size(); ++t) {
      const auto want = layer.finished(token_[t].sequence, token_[t].position);
      CHECK(std::memcmp(partial_.data() + t * want.size(), want.data(), want.size() * 4) == 0);
    }
    emulate::run(launch_compress(args()), args(), seed);
  }

  const std::uint8_t* row(int part, int sequence, std::int64_t r) {
    return stored_[static_cast<std::size_t>(part)].row(sequence, r);
  }
  void check_bits() {
    for (const Span& s : spans_)
      for (int p = 0; p < layer.parts(); ++p)
        for (std::int64_t r = first(s); r < last(s); ++r) {
          const auto want = stored(layer, p, true_row(layer, p, s.sequence, r));
          CHECK(std::memcmp(row(p, s.sequence, r), want.data(), want.size()) == 0);
        }
  }
  // Rows [first, last) of a span are those that it completes.
  std::int64_t first(const Span& s) const { return s.start / layer.s.ratio; }
  std::int64_t last(const Span& s) const { return (s.start + s.count) / layer.s.ratio; }

  void check_row(int part, int sequence, std::int64_t r) {
    INFO("part " << part << ", sequence " << sequence << ", row " << r);
    const auto bytes = stored(layer, part, true_row(layer, part, sequence, r));
    const auto want = read(layer, part, bytes.data());
    const auto got = read(layer, part, row(part, sequence, r));
    double largest = 0;
    for (const float w : want) largest = std::max(largest, std::fabs(double{w}));
    std::size_t differ = 0;
    for (std::size_t c = 0; c < want.size(); ++c) {
      const double error = std::fabs(double{want[c]} - double{got[c]});
      if (error != 0) ++differ;
      // One step of the format: e4m3 an eighth, e2m1 a half or, near zero, of the block's scale.
      const double step = !layer.s.native ? 2e-6 * largest
                          : part == 0     ? std::fabs(double{want[c]}) / 8 + largest / 1024
                                          : std::fabs(double{want[c]}) / 2 + largest / 8;
      CHECK(error <= step);
    }
    if (layer.s.native) CHECK(differ <= 1 + want.size() / 25);
    if (layer.s.native && part == 0) {  // and what follows the last scale is zero
      const int plain = layer.dims[0] - layer.s.rope;
      for (int i = plain + 2 * layer.s.rope + (plain + 63) / 64; i < layer.row_bytes(0); ++i)
        CHECK(row(part, sequence, r)[i] == 0);
    }
  }

  void check() {
    for (const Span& s : spans_) {
      for (int p = 0; p < layer.parts(); ++p) {
        for (std::int64_t r = first(s); r < last(s); ++r) check_row(p, s.sequence, r);
        bool touched = false;  // rows of earlier runs
        for (std::int64_t r = 0; r < first(s); ++r)
          touched |= std::any_of(row(p, s.sequence, r), row(p, s.sequence, r) + layer.row_bytes(p),
                                 [](int b) { return b != emulate::Buffer<int>::kPoison; });
        CHECK(!touched);
      }
    }
  }

 private:
  const Layer& layer;
  std::vector<Span> spans_;
  std::vector<emulate::Buffer<std::uint8_t>> rings_;
  std::vector<test::StoredRows> stored_;
  emulate::Buffer<Sequence> sequence_;
  emulate::Buffer<Token> token_;
  emulate::Buffer<float> partial_, frequency_;
};

unsigned fresh_seed() {
  const unsigned seed = std::random_device{}() % 1000000;
  WARN("inputs from seed " << seed);
  return seed;
}

void check(const Shape& shape, const std::vector<Span>& spans, unsigned inputs) {
  const Layer layer(shape, inputs);
  Run run(layer, spans);
  for (const std::uint64_t seed : emulate::schedules()) {
    run.go(seed);
    run.check();
  }
}

// From the beginning; after a run that ended within a block; one token that completes a row; one
// that does not.
const std::vector<Span> kSpans = {{0, 0, 9}, {1, 10, 7}, {2, 15, 1}, {3, 17, 1}};

}  // namespace

TEST_CASE("Overlapping rows and index keys", "[cuda][compressor]") {
  const unsigned inputs = fresh_seed();
  for (const bool native : {true, false}) {
    check({24, 32, 8, 4, true, native, 4}, kSpans, inputs);
    check({96, 16, 16, 4, true, native, 64}, kSpans, inputs);
    check({512, 128, 64, 4, true, native, 64}, {{0, 5, 3}, {1, 0, 4}}, inputs);
  }
}

TEST_CASE("Rows of one block without keys", "[cuda][compressor]") {
  const unsigned inputs = fresh_seed();
  for (const bool native : {true, false}) {
    check({40, 0, 8, 6, false, native, 4}, {{0, 0, 13}, {1, 10, 3}, {2, 5, 1}}, inputs);
    check({72, 0, 8, 128, false, native, 64}, {{0, 250, 6}, {1, 126, 1}}, inputs);
    check({512, 0, 64, 128, false, native, 64}, {{0, 120, 8}}, inputs);
  }
}

TEST_CASE("What follows the pooling is the definition's, bit by bit", "[cuda][compressor]") {
  const unsigned inputs = fresh_seed();
  for (const bool native : {true, false}) {
    for (const Shape& shape : {Shape{24, 32, 8, 4, true, native, 4, true},
                               Shape{512, 128, 64, 4, true, native, 64, true},
                               Shape{140, 0, 16, 16, false, native, 64, true}}) {
      const Layer layer(shape, inputs);
      Run run(layer, {{0, 0, 33}, {1, 1000, 17}, {2, 47, 1}});
      run.go(emulate::schedules()[0]);
      run.check_bits();
    }
  }
}

TEST_CASE("A million tokens on", "[cuda][compressor]") {
  check({24, 32, 8, 4, true, true, 4096}, {{0, 1000003, 6}}, fresh_seed());
}

TEST_CASE("A row's bits do not depend on how its tokens came", "[cuda][compressor]") {
  const unsigned inputs = fresh_seed();
  for (const bool native : {true, false}) {
    const Layer layer({96, 32, 16, 4, true, native, 4}, inputs);
    Run whole(layer, {{0, 0, 24}, {1, 0, 9}});
    whole.go(1);
    for (std::int64_t start = 0; start < 24; start += 3) {
      Run part(layer, {{0, start, 3}});
      part.go(2);
      for (int p = 0; p < 2; ++p)
        for (std::int64_t r = start / 4; r < (start + 3) / 4; ++r)
          CHECK(std::memcmp(part.row(p, 0, r), whole.row(p, 0, r),
                            static_cast<std::size_t>(layer.row_bytes(p))) == 0);
    }
  }
}

}  // namespace v4i
