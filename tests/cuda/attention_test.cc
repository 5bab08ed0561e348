// kernels: attention attention_plain
// Attention over rings, staged rows and blocks of compressed rows against the scalar kernel; few
// tokens and many, alone and in a batch: the same bits.
#include "kernels/cuda/attention.h"

#include <numeric>

#include "kernels/cpu/tables.h"
#include "kernels/quant.h"
#include "tests/cuda/stored_rows.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using test::Span;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

struct Shape {
  int dim, rope, heads, window;
  int ratio, topk;  // topk 0: no selection
  int rows_per_block;
  bool native;
};
constexpr int kRollback = 2;
constexpr std::int64_t kOffset = 192;  // of the layer's ring in the fixed state

// A run: what a token finds depends on its sequence and position alone.
class Run {
 public:
  Run(const Shape& shape, std::vector<Span> sequences, unsigned data)
      : s(shape), spans(std::move(sequences)), tokens(test::tokens_of(spans)), data_(data) {
    row_bytes = s.dim * 4;
    if (s.native) {
      const int plain = s.dim - s.rope;
      row_bytes = (plain + 2 * s.rope + (plain + 63) / 64 + 7) / 8 * 8;
    }
    const std::int64_t n = static_cast<std::int64_t>(tokens.size());
    std::vector<std::int64_t> visible(spans.size());
    for (const Span& p : spans)
      visible[size(p.sequence)] = s.ratio > 0 ? (p.start + p.count) / s.ratio : 0;
    main = std::make_unique<test::StoredRows>(visible, s.rows_per_block, row_bytes);
    for (const Span& p : spans) make_sequence(p, visible[size(p.sequence)]);
    staged = emulate::Buffer<std::uint8_t>(size(n * row_bytes));
    q = emulate::Buffer<float>(size(n * s.heads * s.dim));
    cos_sin = emulate::Buffer<float>(size(n * s.rope));
    selected = emulate::Buffer<std::int32_t>(size(n * s.topk));
    for (std::int64_t t = 0; t < n; ++t) make_token(t);
    sink = emulate::Buffer<float>(test::normal(size(s.heads), data + 5));
    if (s.heads > 1) sink[0] = -40.0f;
    if (s.heads > 2) sink[1] = 30.0f;
    std::vector<Sequence> list(spans.size());
    for (std::size_t i = 0; i < list.size(); ++i) list[i].fixed = fixed[i].data();
    sequences_ = emulate::Buffer<Sequence>(list);
    tokens_ = emulate::Buffer<Token>(tokens);
  }

  // Of `count` tokens from the first on.
  SparseAttentionArgs args(std::int64_t first, std::int64_t count, float* out) const {
    SparseAttentionArgs a;
    a.tokens = tokens_.data() + first;
    a.sequences = sequences_.data();
    a.rows = staged.data();
    a.main = main->table();
    a.selected = s.topk > 0 ? selected.data() + first * s.topk : nullptr;
    a.q = q.data() + first * s.heads * s.dim;
    a.sink = sink.data();
    a.cos_sin = cos_sin.data() + first * s.rope;
    a.out = out;
    a.window_offset = kOffset;
    a.n = static_cast<std::int32_t>(count);
    a.heads = s.heads, a.dim = s.dim, a.rope = s.rope;
    a.row_bytes = row_bytes;
    a.window = s.window, a.window_slots = s.window + kRollback;
    a.ratio = s.ratio, a.topk = s.topk;
    for (const Token& t : tokens)
      a.max_rows = std::max(a.max_rows, static_cast<std::int32_t>(rows_of(t).size()));
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dim)));
    a.native = s.native;
    return a;
  }

  // The candidates of a token, as attention.h has them.
  std::vector<const void*> rows_of(const Token& t) const {
    std::vector<const void*> rows;
    for (std::int64_t p = std::max<std::int64_t>(0, t.position - s.window + 1); p <= t.position;
         ++p)
      rows.push_back(p < t.start ? fixed[size(t.sequence)].data() + slot(p)
                                 : staged.data() + (t.row - (t.position - p)) * row_bytes);
    if (s.ratio == 0) return rows;
    const std::int64_t visible = (t.position + 1) / s.ratio;
    const bool choose = s.topk > 0 && visible > s.topk;
    for (std::int64_t i = 0; i < (choose ? s.topk : visible); ++i)
      rows.push_back(main->row(t.sequence, choose ? selected[size(t.row * s.topk + i)] : i));
    return rows;
  }

  Shape s;
  std::vector<Span> spans;
  std::vector<Token> tokens;
  int row_bytes;
  std::unique_ptr<test::StoredRows> main;
  std::vector<emulate::Buffer<std::uint8_t>> fixed = std::vector<emulate::Buffer<std::uint8_t>>(8);
  emulate::Buffer<std::uint8_t> staged;
  emulate::Buffer<float> q, cos_sin, sink;
  emulate::Buffer<std::int32_t> selected;

 private:
  std::int64_t slot(std::int64_t position) const {
    return kOffset + position % (s.window + kRollback) * row_bytes;
  }
  unsigned seed(int sequence, std::int64_t i) const {
    return data_ + 1000003u * static_cast<unsigned>(sequence + 1) + static_cast<unsigned>(i);
  }
  void store(unsigned from, std::uint8_t* to) const {
    std::vector<float> x = test::normal(size(s.dim), from);
    for (float& v : x) v *= 1.0f + static_cast<float>(from % 7);
    std::memset(to, 0, size(row_bytes));
    if (s.native)
      kernels::pack_row(x.data(), s.dim, s.rope, to);
    else
      std::memcpy(to, x.data(), size(row_bytes));
  }
  void make_sequence(const Span& p, std::int64_t visible) {
    auto& state = fixed[size(p.sequence)];
    state = emulate::Buffer<std::uint8_t>(size(slot(s.window + kRollback - 1) + row_bytes));
    for (std::int64_t at = std::max<std::int64_t>(0, p.start - s.window - kRollback); at < p.start;
         ++at)
      store(seed(p.sequence, at), state.data() + slot(at));
    for (std::int64_t r = 0; r < visible; ++r)
      store(seed(p.sequence, 500000 + r), main->row(p.sequence, r));
  }
  void make_token(std::int64_t t) {
    const Token& token = tokens[size(t)];
    const unsigned from = seed(token.sequence, token.position);
    store(from, staged.data() + t * row_bytes);
    const std::int64_t all = s.heads * s.dim;
    const auto x =
        s.native ? test::normal_bf16(size(all), from + 77) : test::normal(size(all), from);
    std::copy(x.begin(), x.end(), q.data() + t * all);
    for (int i = 0; i < s.rope / 2; ++i) {
      const float angle = static_cast<float>(token.position) / static_cast<float>(i + 1);
      cos_sin[size(t * s.rope + i)] = std::cos(angle);
      cos_sin[size(t * s.rope + s.rope / 2 + i)] = std::sin(angle);
    }
    if (s.topk == 0) return;
    std::vector<std::int32_t> rows(size((token.position + 1) / s.ratio));
    if (rows.size() <= size(s.topk)) return;  // the list is not read: it stays poisoned
    std::iota(rows.begin(), rows.end(), 0);
    std::mt19937 g(from);
    std::shuffle(rows.begin(), rows.end(), g);
    std::sort(rows.begin(), rows.begin() + s.topk);
    std::copy_n(rows.begin(), s.topk, selected.data() + t * s.topk);
  }

  unsigned data_;
  emulate::Buffer<Sequence> sequences_;
  emulate::Buffer<Token> tokens_;
};

enum class Way { kAsLaunched, kFew, kMany };

// The other kernel where there are two.
Launch launch_as(const SparseAttentionArgs& a, Way way) {
  Launch l = launch_attention(a);
  if (way == Way::kAsLaunched || attention_is_plain(a)) return l;
  const auto groups = static_cast<std::uint32_t>((a.heads + kAttentionHeads - 1) / kAttentionHeads);
  const auto n = static_cast<std::uint32_t>(a.n);
  const auto chunks = static_cast<std::uint32_t>(attention_max_chunks(a.max_rows));
  return way == Way::kFew ? Launch{"v4i_attention_few", chunks, groups, n, l.threads, l.shared}
                          : Launch{"v4i_attention_many", groups, n, 1, l.threads, l.shared};
}

// Tokens [first, first + count) of a run; `in_place`: out is q.
std::vector<float> attend(const Run& r, std::int64_t first, std::int64_t count, Way way,
                          std::uint64_t seed, bool in_place = false) {
  const std::int64_t width = r.s.heads * r.s.dim;
  emulate::Buffer<float> out(size(count * width));
  SparseAttentionArgs a = r.args(first, count, out.data());
  if (in_place) {
    std::copy_n(a.q, out.size(), out.data());
    a.q = out.data();
  }
  const bool plain = attention_is_plain(a);
  const bool split = way == Way::kAsLaunched ? attention_is_split(a) : way == Way::kFew && !plain;
  std::size_t bytes = attention_partial_bytes(a);
  if (split && bytes == 0)
    bytes = size(count) * size(attention_max_chunks(a.max_rows)) * size(a.heads) * size(a.dim + 2) *
            sizeof(float);
  emulate::Buffer<float> partial(bytes / sizeof(float));
  a.partial = partial.data();
  emulate::run(launch_as(a, way), a, seed);
  if (split) {
    const Launch merge{"v4i_attention_merge",
                       static_cast<std::uint32_t>(a.heads),
                       static_cast<std::uint32_t>(a.n),
                       1,
                       128,
                       0};
    if (attention_is_split(a)) REQUIRE(launch_attention_merge(a).kernel != nullptr);
    emulate::run(merge, a, seed);
  } else if (!attention_is_split(a)) {
    REQUIRE(launch_attention_merge(a).kernel == nullptr);
  }
  return out.vector();
}

// The scalar kernels' result for a token; bound[i]: how far rounding may carry a native one.
std::vector<float> definition(const Run& r, const Token& t, std::vector<double>& bound) {
  const Shape& s = r.s;
  const std::vector<const void*> rows = r.rows_of(t);
  const auto n = static_cast<std::int64_t>(rows.size());
  std::vector<float> out(size(s.heads * s.dim));
  std::vector<float> scratch(size(kernels::attention_scratch_floats(s.dim, n, s.heads)));
  const float* q = r.q.data() + t.row * s.heads * s.dim;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dim)));
  kernels::kScalarKernels.attention(
      {{s.dim, s.rope, s.native ? RowForm::kFp8Rope16 : RowForm::kFloat32},
       rows.data(),
       n,
       q,
       r.sink.data(),
       out.data(),
       0,
       s.heads,
       scale,
       s.native,
       scratch.data()});
  kernels::kScalarKernels.output_heads(
      {out.data(), s.heads, s.dim, s.rope, r.cos_sin.data() + t.row * s.rope, 0, s.native});
  // Each weight and each result may be rounded the other way.
  bound.assign(out.size(), 0);
  std::vector<float> k(size(n * s.dim));
  for (std::int64_t i = 0; i < n; ++i) {
    if (s.native)
      kernels::unpack_row(static_cast<const std::uint8_t*>(rows[size(i)]), s.dim, s.rope,
                          k.data() + i * s.dim);
    else
      std::memcpy(k.data() + i * s.dim, rows[size(i)], size(s.dim * 4));
  }
  for (int h = 0; h < s.heads; ++h) {
    std::vector<double> p(size(n));
    for (std::int64_t i = 0; i < n; ++i) {
      for (int c = 0; c < s.dim; ++c)
        p[size(i)] += double(q[h * s.dim + c]) * k[size(i * s.dim + c)];
      p[size(i)] *= static_cast<double>(scale);
    }
    const double top = *std::max_element(p.begin(), p.end());
    double total = std::exp(double(r.sink[size(h)]) - top);
    for (double& v : p) total += v = std::exp(v - top);
    double* b = bound.data() + h * s.dim;
    for (int c = 0; c < s.dim; ++c)
      for (std::int64_t i = 0; i < n; ++i)
        b[c] += p[size(i)] * std::fabs(double(k[size(i * s.dim + c)])) / total;
    for (int c = s.dim - s.rope; c + 1 < s.dim; c += 2) b[c] = b[c + 1] = b[c] + b[c + 1];
  }
  return out;
}

void check(const Shape& s, const std::vector<Span>& spans, const std::vector<Way>& ways) {
  const unsigned data = std::random_device()();
  const Run r(s, spans, data);
  const auto n = static_cast<std::int64_t>(r.tokens.size()), width = std::int64_t{s.heads} * s.dim;
  CAPTURE(s.dim, s.rope, s.heads, s.window, s.ratio, s.topk, s.native, n, data);
  std::vector<std::vector<float>> want;
  std::vector<std::vector<double>> bound(size(n));
  for (const Token& t : r.tokens) want.push_back(definition(r, t, bound[size(t.row)]));
  bool in_place = false;
  std::vector<float> first;
  for (const std::uint64_t seed : emulate::schedules()) {
    for (const Way way : ways) {
      const std::vector<float> got = attend(r, 0, n, way, seed, in_place);
      in_place = !in_place;
      if (!first.empty()) REQUIRE(test::same_bits(got, first));
      first = got;
    }
  }
  double difference = 0, all = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    for (std::int64_t i = 0; i < width; ++i) {
      const double x = want[size(t)][size(i)], d = double(first[size(t * width + i)]) - x;
      CAPTURE(t, i, x, d);
      REQUIRE(std::fabs(d) <= bound[size(t)][size(i)] * (s.native ? 0x1p-6 : 1e-5));
      difference += d * d, all += x * x;
    }
  }
  CAPTURE(std::sqrt(difference / all));
  REQUIRE(std::sqrt(difference / all) < (s.native ? 0x1p-8 : 4e-6));
  // Alone, and with other neighbours.
  const std::uint64_t seed = emulate::schedules()[0];
  for (const std::int64_t t : {std::int64_t{0}, n / 2, n - 1}) {
    const std::vector<float> alone = attend(r, t, 1, Way::kAsLaunched, seed);
    REQUIRE(std::memcmp(alone.data(), first.data() + t * width, alone.size() * 4) == 0);
  }
  const std::vector<float> rest = attend(r, n / 2, n - n / 2, ways.back(), seed);
  REQUIRE(std::memcmp(rest.data(), first.data() + n / 2 * width, rest.size() * 4) == 0);
}

const std::vector<Way> kBoth = {Way::kFew, Way::kMany};
const std::vector<Way> kOne = {Way::kAsLaunched};

}  // namespace

TEST_CASE("attention agrees with the scalar kernel, few and many alike", "[cuda][attention]") {
  const std::vector<Span> several = {{1, 17, 3}, {0, 0, 9}, {2, 203, 2}};
  check({24, 8, 3, 5, 0, 0, 4, true}, several, kBoth);
  check({24, 8, 3, 5, 4, 0, 4, true}, several, kBoth);
  check({32, 16, 17, 40, 4, 7, 3, true}, several, kBoth);
  check({136, 64, 5, 33, 128, 0, 4, true}, {{0, 250, 12}, {1, 400, 1}}, kBoth);
  check({80, 0, 2, 64, 4, 16, 4, true}, several, kBoth);
}

TEST_CASE("attention of V4-Flash's rows", "[cuda][attention]") {
  check({512, 64, 20, 128, 4, 24, 64, true}, {{0, 198, 1}, {1, 2, 2}}, kBoth);
}

TEST_CASE("attention without tensor cores", "[cuda][attention]") {
  const std::vector<Span> several = {{1, 17, 3}, {0, 0, 9}, {2, 203, 2}};
  check({24, 8, 3, 5, 4, 7, 4, false}, several, kOne);
  check({512, 64, 2, 128, 4, 24, 64, false}, {{0, 198, 1}, {1, 2, 2}}, kOne);
  check({40, 10, 3, 6, 4, 0, 4, true}, several, kOne);
  check({576, 64, 2, 20, 0, 0, 4, true}, {{0, 30, 2}}, kOne);
  check({7, 2, 1, 5, 0, 0, 4, false}, several, kOne);
}

// Chunks of more than two tiles, and of a length that 64 does not divide.
TEST_CASE("attention over more rows than the smallest chunks hold", "[cuda][attention]") {
  const Shape s{16, 8, 2, 9, 4, 0, 16, true};
  check(s, {{0, 8299, 1}, {1, 300, 1}}, kBoth);
  check(s, {{0, 4 * (2048 - 9) - 2, 3}}, kBoth);  // 2047, 2048, 2048 candidates
}

// The launch of many tokens is the one without partial results.
TEST_CASE("attention of a prompt", "[cuda][attention]") {
  check({24, 8, 3, 5, 4, 3, 4, true}, {{0, 3, 65}}, {Way::kAsLaunched, Way::kFew});
}

// One row and no sink: the weight is 1 and the output is the row, code by code.
TEST_CASE("attention sees every code under every scale", "[cuda][attention]") {
  const Shape s{256, 0, 1, 1, 0, 0, 1, true};
  for (int scale = 1; scale <= 240; scale += 7) {
    Run r(s, {{0, 0, 1}}, 1);
    for (int i = 0; i < 256; ++i)
      r.staged[size(i)] = static_cast<std::uint8_t>((i & 0x7f) == 0x7f ? 0 : i);
    for (int b = 0; b < 4; ++b) r.staged[size(256 + b)] = static_cast<std::uint8_t>(scale);
    r.q.fill(0.0f);
    r.sink[0] = -1e30f;
    std::vector<float> want(256);
    kernels::unpack_row(r.staged.data(), 256, 0, want.data());
    const std::vector<float> got = attend(r, 0, 1, Way::kMany, 1);
    for (std::size_t c = 0; c < 256; ++c) {
      if (std::fabs(want[c]) < 0x1p-120f) continue;
      CAPTURE(scale, c);
      REQUIRE(got[c] == want[c]);
    }
  }
}

}  // namespace v4i
