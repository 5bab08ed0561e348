// What the kernels of the CPU assume of a model; see shapes.h.
#include "lib/forward/cpu/shapes.h"

#include <bit>

#include "kernels/kernels.h"
#include "lib/base/error.h"

namespace v4i::forward::cpu {

namespace {

void require(bool good, const model::Model& m, const char* key, std::int64_t found,
             const char* wanted) {
  if (!good)
    fail(Code::kUnsupported, "{}: {} is {}; this build runs {}", m.path(), key, found, wanted);
}

}  // namespace

void check_shapes(const model::Model& m) {
  const model::Config& c = m.config();
  require(c.rope_dim % 2 == 0 && c.rope_dim <= 512 && c.rope_dim < c.head_dim, m,
          "qk_rope_head_dim", c.rope_dim, "even sizes up to 512, below head_dim");
  require(c.fp8_block % 16 == 0, m, "weight_block_size", c.fp8_block, "multiples of 16");
  require(c.hc_mult >= 1 && c.hc_mult <= kernels::kMaxStreams, m, "hc_mult", c.hc_mult,
          "1 to 16 streams");
  bool indexer = false;
  for (const model::LayerPlan& l : m.plan().layers) {
    require(l.ratio <= 128, m, "compress_ratios entry", l.ratio, "ratios up to 128");
    indexer = indexer || l.indexer;
  }
  require(c.candidate_blocks == 0 ||
              std::has_single_bit(static_cast<std::uint64_t>(c.candidate_block_rows)),
          m, "candidate_block_size", c.candidate_block_rows, "powers of two");
  if (!indexer) return;
  require(c.index_dim <= 512 && c.index_dim >= c.rope_dim &&
              std::has_single_bit(static_cast<std::uint64_t>(c.index_dim)),
          m, "index_head_dim", c.index_dim, "powers of two up to 512, not below qk_rope_head_dim");
}

void check_fast(const model::Model& m, const kernels::KernelTable& kernels) {
  if (kernels.linear_int8 == nullptr)
    fail(Code::kUnsupported,
         "{}: numerics fast needs kernels with int8 products, which {} has not; avx512bf16 has "
         "(AVX-512 with BF16, VBMI and VNNI), scalar defines them slowly",
         m.path(), kernels.name);
  require(m.config().fp8_block == 128, m, "weight_block_size", m.config().fp8_block,
          "numerics fast with blocks of 128");
}

}  // namespace v4i::forward::cpu
