// Matrix products at the shapes of a layer, alone and grouped as the executor launches them.
#include "bench/cuda/families.h"
#include "kernels/cuda/linear.h"

namespace v4i::bench::cuda {
namespace {

constexpr auto kFp8 = WeightFormat::kFp8;
constexpr auto kFp4 = WeightFormat::kFp4;
constexpr auto kBF16 = WeightFormat::kBF16;

struct Part {
  WeightFormat format;
  int rows, cols;
  int groups = 1;  // of rows that read columns of their own
};

// Products of one launch.
struct Job {
  const char* name;
  std::vector<Part> parts;
  bool prompts = true;  // many tokens too
};

std::vector<Job> jobs(const Shapes& s) {
  const int d = s.width, q = s.heads * s.dim, z = s.o_groups * s.o_lora, w = s.expert_width;
  const Part kv{kFp8, s.dim, d}, qa{kFp8, s.q_lora, d};
  const Part hca{kBF16, s.dim, d}, csa{kBF16, 2 * s.dim, d}, key{kBF16, 2 * s.index_dim, d};
  return {
      {"kv + q_a", {kv, qa}},
      {"kv + q_a + compressor of HCA", {kv, qa, hca, hca}},
      {"kv + q_a + compressors of CSA", {kv, qa, csa, csa, key, key}},
      {"q_b", {{kFp8, q, s.q_lora}}},
      {"q_b + queries of the indexer",
       {{kFp8, q, s.q_lora},
        {kFp8, s.index_heads * s.index_dim, s.q_lora},
        {kBF16, s.index_heads, d}}},
      {"o_a (groups)", {{kFp8, z, q / s.o_groups, s.o_groups}}},
      {"o_b", {{kFp8, d, z}}},
      {"gate", {{kBF16, s.experts, d}}},
      {"shared w1 + w3", {{kFp8, w, d}, {kFp8, w, d}}},
      {"shared w2", {{kFp8, d, w}}},
      {"head", {{kBF16, s.vocab, d}}, false},
      // One shape in every format.
      {"o_b", {{kBF16, d, z}}},
      {"o_b", {{kFp4, d, z}}},
  };
}

std::string name_of(const Job& j) {
  std::string text = j.name;
  for (const Part& p : j.parts) text += "; " + shape_name(p.rows, p.cols, p.format);
  return text;
}

// The launch of one variant: every matrix lies elsewhere.
kc::ProductsArgs args_of(Meter& m, const Job& j, int tokens, const float* x, float* y) {
  kc::ProductsArgs a;
  a.tokens = tokens;
  a.native = 1;
  std::int64_t at = 0;
  for (const Part& part : j.parts) {
    kc::Product& p = a.product[a.products++];
    p.w = m.matrix(part.format, part.rows, part.cols);
    p.x = x;
    p.x_stride = std::int64_t{part.groups} * part.cols;
    p.y = y + at;
    p.y_stride = part.rows;
    if (part.groups > 1) {
      p.group_rows = part.rows / part.groups;
      p.group_stride = part.cols;
    }
    p.round = 1;
    at += std::int64_t{tokens} * part.rows;
  }
  return a;
}

void measure(Meter& m, const Job& j, int tokens) {
  Case c{tokens <= kc::kFewTokens ? "products_few" : "products_many", name_of(j), tokens};
  try {
    m.begin();
    std::int64_t x_floats = 0, y_floats = 0;
    for (const Part& p : j.parts) {
      x_floats = std::max(x_floats, std::int64_t{tokens} * p.groups * p.cols);
      y_floats += std::int64_t{tokens} * p.rows;
      c.flops += 2.0 * tokens * p.rows * p.cols;
    }
    const float* x = m.floats(x_floats);
    float* y = m.room(y_floats);
    const kc::ProductsArgs first = args_of(m, j, tokens, x, y);
    for (int i = 0; i < first.products; ++i) c.cold += matrix_bytes(first.product[i].w);
    c.bytes = c.cold;
    if (tokens > kc::kFewTokens) c.bytes += 4.0 * static_cast<double>(x_floats + y_floats);
    std::vector<kc::ProductsArgs> args = {first};
    while (static_cast<int>(args.size()) < m.variants(c))
      args.push_back(args_of(m, j, tokens, x, y));
    std::vector<kc::Launch> launches;
    for (kc::ProductsArgs& a : args) launches.push_back(kc::launch_products(a));
    m.measure(c, [&](const fc::Stream& s, int v) {
      s.launch(launches[static_cast<std::size_t>(v)], args[static_cast<std::size_t>(v)]);
    });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

}  // namespace

void measure_products(Meter& m) {
  for (const Job& j : jobs(m.shapes())) {
    for (const int tokens : m.shapes().few) measure(m, j, tokens);
    if (!j.prompts) continue;
    for (const int tokens : m.shapes().many) measure(m, j, tokens);
  }
}

}  // namespace v4i::bench::cuda
