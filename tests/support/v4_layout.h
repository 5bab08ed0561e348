// Checkpoints of any V4 shape: the tensor directory of docs/model.md as a list.
//
// Two uses: headers over sparse files with the exact directory of V4-Flash or
// V4-Pro (opening it must be fast, and no test machine has 160 or 865 GB), and small
// models whose sizes are no multiple of anything, filled with random codes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace v4i::test {

struct V4Shape {
  std::int64_t vocab = 129280, width = 4096, expert_width = 2048, layers = 43, hash_layers = 3;
  std::int64_t heads = 64, head_dim = 512, rope_dim = 64, q_lora = 1024, o_groups = 8;
  std::int64_t o_lora = 1024, index_heads = 64, index_dim = 128, index_topk = 512, hc_mult = 4;
  std::int64_t experts = 256, experts_active = 6, window = 128, markov_rank = 256;
  double route_scale = 1.5;
  std::vector<int> ratios;         // one per layer, draft stages left out
  std::string experts_as = "fp4";  // fp4, fp8, BF16, F32
  std::string dense_as = "fp8";    // fp8, BF16, F32
  int mtp = 1;                     // 0 or 1
  int dspark = 0;                  // stages; then mtp is 0
};

V4Shape v4_flash();
V4Shape v4_pro();
V4Shape odd_shape();  // 2 layers; few sizes divide by 128, some not by 8

struct LayoutTensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string shard_key;  // "embed", "layers.7", "head" or "mtp.0": one shard each
};

std::vector<LayoutTensor> v4_tensors(const V4Shape& shape);
std::string v4_config(const V4Shape& shape);  // config.json, Hugging Face names

// Headers, index and config; the tensor bytes are holes that read as zero.
void write_sparse_checkpoint(const std::string& folder, const V4Shape& shape);
void write_sparse_checkpoint(const std::string& folder, const std::vector<LayoutTensor>& tensors,
                             const std::string& config);
// One file with random codes, none of them NaN.
void write_random_checkpoint(const std::string& folder, const V4Shape& shape, int seed);

}  // namespace v4i::test
