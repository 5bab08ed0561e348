// kernels: indexer index_heads index_float
// The indexer's queries and scores against the scalar kernels.
#include "kernels/cuda/indexer.h"

#include "kernels/cpu/tables.h"
#include "tests/cuda/stored_rows.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using test::Span;

constexpr int kRatio = 4;

// A layer's indexer with tokens and keys.
struct Indexer {
  IndexShape shape;
  std::vector<Token> tokens;
  std::vector<float> q, weight, cos_sin;
  float weight_scale;
  test::StoredRows keys;

  static int key_bytes(const IndexShape& s) {
    return s.native != 0 ? s.dim / 2 + (s.dim + 31) / 32 : 4 * s.dim;
  }
  static std::vector<std::int64_t> rows_of(const std::vector<Span>& spans) {
    std::vector<std::int64_t> rows;
    for (const Span& s : spans) {
      rows.resize(std::max(rows.size(), static_cast<std::size_t>(s.sequence) + 1));
      std::int64_t& n = rows[static_cast<std::size_t>(s.sequence)];
      n = std::max(n, (s.start + s.count) / kRatio);
    }
    return rows;
  }

  Indexer(const IndexShape& s, const std::vector<Span>& spans, int rows_per_block, unsigned seed)
      : shape(s),
        tokens(test::tokens_of(spans)),
        weight_scale(static_cast<float>(1.0 / std::sqrt(s.dim) / std::sqrt(s.heads))),
        keys(rows_of(spans), rows_per_block, key_bytes(s)) {
    shape.ratio = kRatio;
    const std::size_t n = tokens.size(), width = static_cast<std::size_t>(s.heads * s.dim);
    q = test::normal(n * width, seed);
    weight = test::normal(n * static_cast<std::size_t>(s.heads), seed + 1);
    if (s.native != 0) {
      kernels::round_bf16(q.data(), static_cast<std::int64_t>(q.size()));
      kernels::round_bf16(weight.data(), static_cast<std::int64_t>(weight.size()));
    }
    cos_sin = test::normal(n * static_cast<std::size_t>(s.rope), seed + 2);
    const auto rows = rows_of(spans);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::int64_t r = 0; r < rows[i]; ++r) store_key(static_cast<int>(i), r, seed);
  }

  void store_key(int sequence, std::int64_t r, unsigned seed) {
    auto x =
        test::normal(static_cast<std::size_t>(shape.dim),
                     seed + 1000u * static_cast<unsigned>(sequence) + static_cast<unsigned>(r));
    if (r % 5 == 1)  // scales far apart
      for (int c = 0; c < shape.dim; ++c)
        x[static_cast<std::size_t>(c)] *= c / 32 % 2 == 0 ? 1.0f : 0x1p-7f;
    if (r % 37 == 3) std::fill(x.begin(), x.end(), 0.0f);
    std::uint8_t* to = keys.row(sequence, r);
    if (shape.native != 0)
      kernels::pack_key(x.data(), shape.dim, to);
    else
      std::memcpy(to, x.data(), x.size() * sizeof x[0]);
  }

  std::int64_t visible(std::size_t t) const { return (tokens[t].position + 1) / kRatio; }
  std::int64_t most() const {
    std::int64_t n = 0;
    for (std::size_t t = 0; t < tokens.size(); ++t) n = std::max(n, visible(t));
    return n;
  }

  // What the definition makes of token t's heads and weights.
  std::vector<float> true_heads(std::size_t t) const {
    const std::size_t width = static_cast<std::size_t>(shape.heads * shape.dim);
    std::vector<float> x(q.begin() + static_cast<std::ptrdiff_t>(t * width),
                         q.begin() + static_cast<std::ptrdiff_t>((t + 1) * width));
    kernels::kScalarKernels.index_heads({x.data(), shape.heads, shape.dim, shape.rope,
                                         cos_sin.data() + t * static_cast<std::size_t>(shape.rope),
                                         0, shape.native != 0});
    return x;
  }
  std::vector<float> true_weights(std::size_t t) const {
    std::vector<float> w(static_cast<std::size_t>(shape.heads));
    for (std::size_t h = 0; h < w.size(); ++h) {
      w[h] = weight[t * w.size() + h] * weight_scale;
      if (shape.native != 0) w[h] = kernels::round_bf16(w[h]);
    }
    return w;
  }
  std::vector<float> true_scores(std::size_t t) {
    const auto x = true_heads(t), w = true_weights(t);
    const std::int64_t n = visible(t);
    std::vector<const std::uint8_t*> block;
    for (std::int64_t r = 0; r < n; ++r) block.push_back(keys.row(tokens[t].sequence, r));
    std::vector<float> score(static_cast<std::size_t>(n));
    kernels::kScalarKernels.index_scores({shape.dim, shape.heads, shape.native != 0, block.data(),
                                          1, n, key_bytes(shape), 1, x.data(), w.data(),
                                          score.data(), n, shape.native != 0, nullptr});
    return score;
  }

  // Queries of tokens [first, first + count), as the device leaves them.
  emulate::Buffer<std::uint8_t> queries(std::size_t first, std::size_t count,
                                        std::uint64_t seed) const {
    const auto cut = [&](const std::vector<float>& v) {
      const std::size_t each = v.size() / tokens.size();
      const auto begin = v.begin() + static_cast<std::ptrdiff_t>(first * each);
      return emulate::Buffer<float>(
          std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count * each)));
    };
    const auto part_q = cut(q), part_weight = cut(weight), part_cos_sin = cut(cos_sin);
    const auto token = part_tokens(first, count);
    emulate::Buffer<std::uint8_t> query(count * static_cast<std::size_t>(index_query_bytes(shape)));
    IndexHeadsArgs a;
    a.shape = shape;
    a.tokens = static_cast<std::int32_t>(count);
    a.weight_scale = weight_scale;
    a.token = token.data();
    a.q = part_q.data();
    a.weight = part_weight.data();
    a.cos_sin = part_cos_sin.data();
    a.query = query.data();
    emulate::run(launch_index_heads(a), a, seed);
    return query;
  }

  // Their scores, [count, most() + 1].
  emulate::Buffer<float> scores(std::size_t first, std::size_t count, int processors,
                                std::uint64_t seed) const {
    const auto token = part_tokens(first, count);
    const auto query = queries(first, count, seed);
    emulate::Buffer<float> score(count * static_cast<std::size_t>(most() + 1));
    IndexScoresArgs a;
    a.shape = shape;
    a.tokens = static_cast<std::int32_t>(count);
    a.token = token.data();
    a.query = query.data();
    a.keys = keys.table();
    a.score = score.data();
    a.score_stride = most() + 1;
    emulate::run(launch_index_scores(a, most(), processors), a, seed);
    return score;
  }

  emulate::Buffer<Token> part_tokens(std::size_t first, std::size_t count) const {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    return emulate::Buffer<Token>(
        std::vector<Token>(begin, begin + static_cast<std::ptrdiff_t>(count)));
  }
};

bool poisoned(const float* x, std::int64_t n) {
  return std::all_of(reinterpret_cast<const std::uint8_t*>(x),
                     reinterpret_cast<const std::uint8_t*>(x + n),
                     [](std::uint8_t b) { return b == emulate::Buffer<float>::kPoison; });
}

// Exact: close to the sums in double.  Native: equal but for sums that lie on an edge between two
// bfloat16 values, or dots of which one does.
void check_scores(const std::vector<float>& want, const float* got, bool native) {
  std::size_t differ = 0;
  double largest = 0;
  for (const float w : want) largest = std::max(largest, std::fabs(double{w}));
  for (std::size_t j = 0; j < want.size(); ++j) {
    if (want[j] != got[j]) ++differ;
    const double allowed = native ? 0x1p-7 * std::fabs(double{want[j]}) + 0x1p-10 * largest
                                  : 1e-6 * (std::fabs(double{want[j]}) + largest);
    CHECK(std::fabs(double{want[j]} - double{got[j]}) <= allowed);
  }
  if (native) CHECK(differ <= 2 + want.size() / 50);
}

void check_all_scores(Indexer& x, int processors, std::uint64_t seed) {
  const auto score = x.scores(0, x.tokens.size(), processors, seed);
  const std::int64_t stride = x.most() + 1;
  for (std::size_t t = 0; t < x.tokens.size(); ++t) {
    INFO("token " << t << " at " << x.tokens[t].position);
    const float* got = score.data() + t * static_cast<std::size_t>(stride);
    const std::int64_t n = x.visible(t) > x.shape.topk ? x.visible(t) : 0;
    if (n > 0) check_scores(x.true_scores(t), got, x.shape.native != 0);
    CHECK(poisoned(got + n, stride - n));
  }
}

// The shape of a token's query on the tensor cores, written from its description.
float stored_query(const Indexer& x, const std::uint8_t* query, int head, int channel) {
  const int t = channel / 32, s = channel % 32 / 4;
  const int at = ((head / 8 * 4 + s / 2) * 32 + head % 8 * 4 + t) * 16 + channel % 8 * 2;
  std::uint16_t code;
  std::memcpy(&code, query + (index_uses_mma(x.shape) ? at : 0), sizeof code);
  return kernels::decode_bf16(code);
}

void check_queries(const Indexer& x, std::uint64_t seed) {
  const auto query = x.queries(0, x.tokens.size(), seed);
  const auto bytes = static_cast<std::size_t>(index_query_bytes(x.shape));
  for (std::size_t t = 0; t < x.tokens.size(); ++t) {
    const std::uint8_t* got = query.data() + t * bytes;
    if (x.visible(t) <= x.shape.topk) {
      CHECK(poisoned(reinterpret_cast<const float*>(got), static_cast<std::int64_t>(bytes / 4)));
      continue;
    }
    const auto heads = x.true_heads(t), weights = x.true_weights(t);
    if (!index_uses_mma(x.shape)) {
      CHECK(std::memcmp(got, heads.data(), heads.size() * 4) == 0);
      CHECK(std::memcmp(got + heads.size() * 4, weights.data(), weights.size() * 4) == 0);
      continue;
    }
    const int padded = padded_heads(x.shape);
    int wrong = 0;
    for (int h = 0; h < padded; ++h) {
      for (int c = 0; c < x.shape.dim; ++c) {
        const float want =
            h < x.shape.heads ? heads[static_cast<std::size_t>(h * x.shape.dim + c)] : 0.0f;
        if (stored_query(x, got, h, c) != want) ++wrong;
      }
      std::uint16_t w;
      std::memcpy(&w, got + padded * x.shape.dim * 2 + 2 * h, sizeof w);
      const float want = h < x.shape.heads ? weights[static_cast<std::size_t>(h)] : 0.0f;
      if (kernels::decode_bf16(w) != want) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

IndexShape shape_of(int dim, int heads, int rope, int topk, bool native) {
  IndexShape s;
  s.dim = dim;
  s.heads = heads;
  s.rope = rope;
  s.topk = topk;
  s.native = native ? 1 : 0;
  return s;
}

unsigned fresh_seed() {
  const unsigned seed = std::random_device{}() % 1000000;
  WARN("inputs from seed " << seed);
  return seed;
}

// Several sequences; one of them sees few rows, and some tokens of another become able to.
const std::vector<Span> kSpans = {{0, 1100, 5}, {1, 3, 6}, {2, 76, 13}, {3, 700, 1}};

}  // namespace

TEST_CASE("Queries are the scalar kernel's, bit by bit", "[cuda][indexer]") {
  const unsigned inputs = fresh_seed();
  for (const std::uint64_t seed : emulate::schedules()) {
    check_queries(Indexer(shape_of(128, 64, 64, 20, true), kSpans, 64, inputs), seed);
    check_queries(Indexer(shape_of(128, 5, 16, 20, true), kSpans, 64, inputs), seed);
    check_queries(Indexer(shape_of(64, 3, 8, 20, true), kSpans, 64, inputs), seed);
    check_queries(Indexer(shape_of(40, 3, 8, 20, false), kSpans, 64, inputs), seed);
  }
}

TEST_CASE("Scores on tensor cores agree with the scalar kernel", "[cuda][indexer]") {
  const unsigned inputs = fresh_seed();
  for (const std::uint64_t seed : emulate::schedules()) {
    for (const int rows_per_block : {64, 4, 7}) {
      Indexer x(shape_of(128, 16, 64, 20, true), kSpans, rows_per_block, inputs);
      check_all_scores(x, 3, seed);
    }
  }
  for (const int heads : {1, 24, 64}) {
    Indexer x(shape_of(128, heads, 64, 20, true), {{0, 300, 2}, {1, 1100, 1}}, 64, inputs);
    check_all_scores(x, 132, 1);
  }
  Indexer many(shape_of(128, 128, 64, 20, true), {{0, 400, 1}}, 64, inputs);
  check_all_scores(many, 132, 1);
}

TEST_CASE("Scores in float32 agree with the scalar kernel", "[cuda][indexer]") {
  const unsigned inputs = fresh_seed();
  for (const std::uint64_t seed : emulate::schedules()) {
    for (const int rows_per_block : {64, 4}) {
      Indexer exact(shape_of(128, 6, 64, 20, false), kSpans, rows_per_block, inputs);
      check_all_scores(exact, 3, seed);
      Indexer odd(shape_of(20, 9, 8, 20, false), kSpans, rows_per_block, inputs);
      check_all_scores(odd, 3, seed);
      Indexer packed(shape_of(64, 5, 16, 20, true), kSpans, rows_per_block, inputs);
      check_all_scores(packed, 3, seed);
    }
  }
}

TEST_CASE("A token's scores do not depend on the other tokens of the launch", "[cuda][indexer]") {
  const unsigned inputs = fresh_seed();
  for (const bool native : {true, false}) {
    const Indexer x(shape_of(128, 8, 64, 20, native), kSpans, 64, inputs);
    const std::size_t n = x.tokens.size(), stride = static_cast<std::size_t>(x.most() + 1);
    const auto all = x.scores(0, n, 2, 3);
    for (const std::size_t at_once : {1, 3}) {
      for (std::size_t first = 0; first < n; first += at_once) {
        const std::size_t count = std::min(at_once, n - first);
        const auto part = x.scores(first, count, 132, 4);
        CHECK(std::memcmp(part.data(), all.data() + first * stride, part.bytes()) == 0);
      }
    }
  }
}

}  // namespace v4i
