// Rotary tables, KV rows, queries and rings against the scalar kernels: the same bits.
#include "kernels/cuda/rows.h"

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
  int dim, rope;
  bool native;
};
const Shape kShapes[] = {{512, 64, true}, {512, 64, false}, {24, 8, true},
                         {40, 10, true},  {200, 2, true},   {24, 8, false}};

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

unsigned random_seed() {
  static std::mt19937 g{std::random_device{}()};
  return g();
}

std::vector<float> turns(int n, int rope) {
  std::vector<float> table = test::normal(size(n * rope), random_seed());
  for (int t = 0; t < n; ++t)
    for (int i = 0; i < rope / 2; ++i) {
      float* row = table.data() + t * rope;
      const float angle = row[i];
      row[i] = std::cos(angle);
      row[rope / 2 + i] = std::sin(angle);
    }
  return table;
}

int row_bytes(const Shape& s) {
  if (!s.native) return 4 * s.dim;
  const int plain = s.dim - s.rope;
  return (plain + 2 * s.rope + (plain + 63) / 64 + 7) / 8 * 8;
}

}  // namespace

TEST_CASE("rotary tables are those of the CPU", "[cuda][rows]") {
  const std::vector<Token> tokens = test::tokens_of({{0, 0, 5}, {1, 1048560, 16}, {2, 77777, 2}});
  const emulate::Buffer<Token> on_device(tokens);
  const int n = static_cast<int>(tokens.size());
  for (const int rope : {64, 8, 2}) {
    std::vector<float> freq[2];
    for (int i = 0; i < rope / 2; ++i)
      for (int table = 0; table < 2; ++table)
        freq[table].push_back(1.0f /
                              std::pow(table == 0 ? 1e4f : 1.6e5f,
                                       static_cast<float>(2 * i) / static_cast<float>(rope)));
    const emulate::Buffer<float> f0(freq[0]), f1(freq[1]);
    for (const std::uint64_t seed : emulate::schedules()) {
      emulate::Buffer<float> t0(size(n * rope)), t1(size(n * rope));
      RopeTableArgs a{on_device.data(), {f0.data(), f1.data()}, {t0.data(), t1.data()}, n, rope};
      emulate::run(launch_rope_table(a), a, seed);
      for (int i = 0; i < n * rope; ++i) {
        CAPTURE(i, rope);
        for (int table = 0; table < 2; ++table) {
          const float angle = static_cast<float>(tokens[size(i / rope)].position) *
                              freq[table][size(i % rope % (rope / 2))];
          const double want = i % rope < rope / 2 ? std::cos(static_cast<double>(angle))
                                                  : std::sin(static_cast<double>(angle));
          REQUIRE((table == 0 ? t0 : t1)[size(i)] == static_cast<float>(want));
        }
      }
      a.freq[1] = nullptr;  // one table alone
      emulate::Buffer<float> alone(size(n * rope));
      a.table[0] = alone.data();
      emulate::run(launch_rope_table(a), a, seed);
      REQUIRE(alone.same_bits(t0));
    }
  }
}

TEST_CASE("KV rows have the bits of the CPU", "[cuda][rows]") {
  for (const Shape& s : kShapes) {
    const int n = 6, bytes = row_bytes(s);
    const unsigned data = random_seed();
    CAPTURE(s.dim, s.rope, s.native, data);
    const std::vector<float> kv =
        s.native ? test::normal_bf16(size(n * s.dim), data) : test::normal(size(n * s.dim), data);
    const std::vector<float> gain = test::normal_bf16(size(s.dim), data + 1);
    const std::vector<float> table = turns(n, s.rope);
    emulate::Buffer<std::uint8_t> want(size(n * bytes), 0);
    for (int t = 0; t < n; ++t) {
      std::vector<float> row(kv.begin() + t * s.dim, kv.begin() + (t + 1) * s.dim);
      float* tail = row.data() + s.dim - s.rope;
      kernels::rms_norm(row.data(), gain.data(), s.dim, 1e-6f, row.data());
      if (s.native) kernels::round_bf16(row.data(), s.dim);
      kernels::rope(tail, table.data() + t * s.rope, s.rope, false);
      if (s.native) kernels::round_bf16(tail, s.rope);
      if (s.native)
        kernels::pack_row(row.data(), s.dim, s.rope, want.data() + t * bytes);
      else
        std::memcpy(want.data() + t * bytes, row.data(), size(bytes));
    }
    const emulate::Buffer<float> kv_at(kv), gain_at(gain), table_at(table);
    for (const std::uint64_t seed : emulate::schedules()) {
      for (const int count : {n, 1}) {
        emulate::Buffer<std::uint8_t> rows(size(count * bytes));
        const MakeRowsArgs a{kv_at.data(), gain_at.data(), table_at.data(), rows.data(), count,
                             s.dim,        s.rope,         bytes,           1e-6f,       s.native};
        emulate::run(launch_make_rows(a), a, seed);
        REQUIRE(std::memcmp(rows.data(), want.data(), rows.bytes()) == 0);
      }
    }
  }
}

TEST_CASE("queries have the bits of the CPU", "[cuda][rows]") {
  for (const Shape& s : kShapes) {
    for (const int heads : {3, 8}) {
      const int n = 3, all = n * heads * s.dim;
      const unsigned data = random_seed();
      CAPTURE(s.dim, s.rope, s.native, heads, data);
      const std::vector<float> x =
          s.native ? test::normal_bf16(size(all), data) : test::normal(size(all), data);
      const std::vector<float> table = turns(n, s.rope);
      std::vector<float> want = x;
      for (int t = 0; t < n; ++t)
        kernels::kScalarKernels.query_heads({want.data() + t * heads * s.dim, heads, s.dim, s.rope,
                                             table.data() + t * s.rope, 1e-6f, s.native});
      const emulate::Buffer<float> table_at(table);
      for (const std::uint64_t seed : emulate::schedules()) {
        emulate::Buffer<float> got(x);
        const QueryHeadsArgs a{got.data(), table_at.data(), n,     heads,
                               s.dim,      s.rope,          1e-6f, s.native};
        emulate::run(launch_query_heads(a), a, seed);
        REQUIRE(test::same_bits(got.vector(), want));
      }
    }
  }
}

TEST_CASE("rings keep the newest rows of each sequence", "[cuda][rows]") {
  struct Rings {
    int row_bytes, window_slots, partial_floats, partial_slots;
  };
  for (const Rings& r : {Rings{584, 5, 12, 3}, {96, 4, 6, 9}, {8, 3, 0, 0}, {28, 2, 7, 2}}) {
    const std::vector<Span> spans = {{1, 7, 4}, {0, 0, 11}, {2, 1000003, 1}};
    const std::vector<Token> tokens = test::tokens_of(spans);
    const int n = static_cast<int>(tokens.size());
    const std::int64_t window_offset = 64;
    const std::int64_t partial_offset =
        window_offset + (r.window_slots * r.row_bytes + 63) / 64 * 64;
    const std::int64_t fixed_bytes = partial_offset + r.partial_slots * r.partial_floats * 4;
    emulate::Buffer<std::uint8_t> rows(size(n * r.row_bytes));
    emulate::Buffer<float> partial(size(n * r.partial_floats));
    std::mt19937 g(random_seed());
    for (auto& b : rows) b = static_cast<std::uint8_t>(g());
    for (auto& v : partial) v = static_cast<float>(g());
    for (const std::uint64_t seed : emulate::schedules()) {
      std::vector<emulate::Buffer<std::uint8_t>> fixed, want;
      std::vector<Sequence> sequences(spans.size());
      for (std::size_t i = 0; i < spans.size(); ++i) {
        fixed.emplace_back(size(fixed_bytes));
        want.emplace_back(size(fixed_bytes));
      }
      for (const Span& s : spans) {
        Sequence& q = sequences[size(s.sequence)];
        q.written = fixed[size(s.sequence)].data();
        q.start = s.start;
        q.count = static_cast<std::int32_t>(s.count);
      }
      for (const Token& t : tokens) {  // a later token of the same slot overwrites
        std::uint8_t* to = want[size(t.sequence)].data();
        std::memcpy(to + window_offset + t.position % r.window_slots * r.row_bytes,
                    rows.data() + t.row * r.row_bytes, size(r.row_bytes));
        if (r.partial_slots > 0)
          std::memcpy(to + partial_offset + t.position % r.partial_slots * r.partial_floats * 4,
                      partial.data() + t.row * r.partial_floats, size(r.partial_floats * 4));
      }
      const emulate::Buffer<Token> tokens_at(tokens);
      const emulate::Buffer<Sequence> sequences_at(sequences);
      KeepRowsArgs a;
      a.tokens = tokens_at.data();
      a.sequences = sequences_at.data();
      a.rows = rows.data();
      a.partial = r.partial_slots > 0 ? partial.data() : nullptr;
      a.window_offset = window_offset;
      a.partial_offset = partial_offset;
      a.n = n;
      a.row_bytes = r.row_bytes;
      a.window_slots = r.window_slots;
      a.partial_floats = r.partial_floats;
      a.partial_slots = r.partial_slots;
      emulate::run(launch_keep_rows(a), a, seed);
      for (std::size_t i = 0; i < fixed.size(); ++i) REQUIRE(fixed[i].same_bits(want[i]));
    }
  }
}

}  // namespace v4i
