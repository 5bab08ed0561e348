// Names, dtypes and shapes of V4.1-Flash's tensors (its spec, section 4); see v41_layout.h.
#include "tests/support/v41_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

namespace v4i::test {

namespace {

using Dims = std::vector<std::int64_t>;

constexpr std::int64_t kWidth = 5120, kVocab = 129280, kExpertWidth = 2304;

bool one_of(int layer, std::initializer_list<int> layers) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

class Layout {
 public:
  std::vector<LayoutTensor> all() {
    at("embed", "");
    add("embed.weight", "BF16", {kVocab, kWidth});
    for (int l = 0; l < 40; ++l) {
      at(fmt::format("layers.{}", l), fmt::format("layers.{}.", l));
      block(l, 384);
      if (one_of(l, {1, 14})) engram();
    }
    at("head", "");
    add("head.weight", "BF16", {kVocab, kWidth});
    norm("norm.weight", kWidth);
    for (int s = 0; s < 3; ++s) draft(s);
    at("vision", "");
    vision();
    table(1, 384006168);
    table(14, 384016682);
    return std::move(out_);
  }

 private:
  void at(const std::string& shard, const std::string& prefix) {
    shard_ = shard;
    prefix_ = prefix;
  }
  void add(const std::string& name, const std::string& dtype, Dims dims) {
    out_.push_back({prefix_ + name, dtype, std::move(dims), shard_});
  }
  void norm(const std::string& name, std::int64_t n) { add(name, "BF16", {n}); }
  void bf16(const std::string& name, std::int64_t rows, std::int64_t cols) {
    add(name + ".weight", "BF16", {rows, cols});
  }
  void fp8(const std::string& name, std::int64_t rows, std::int64_t cols) {
    add(name + ".weight", "F8_E4M3", {rows, cols});
    add(name + ".scale", "F8_E8M0", {(rows + 31) / 32, (cols + 31) / 32});
  }
  void fp4(const std::string& name, std::int64_t rows, std::int64_t cols) {
    add(name + ".weight", "I8", {rows, cols / 2});
    add(name + ".scale", "F8_E8M0", {rows, cols / 32});
  }

  void attention(int l) {
    add("attn.attn_sink", "F32", {64});
    norm("attn.q_norm.weight", 1280);
    norm("attn.kv_norm.weight", 512);
    fp8("attn.wq_a", 1280, kWidth);
    fp8("attn.wq_b", 32768, 1280);
    fp8("attn.wkv", 512, kWidth);
    fp8("attn.wo_a", 8192, 4096);
    fp8("attn.wo_b", kWidth, 8192);
    if (one_of(l, {2, 8, 14, 20})) {
      bf16("attn.compressor.wkv", 512, kWidth);
      if (l != 20) bf16("attn.compressor.wgate", 512, kWidth);
      norm("attn.compressor.norm.weight", 512);
      bf16("attn.indexer.wk", 128, 512);
      norm("attn.indexer.k_norm.weight", 128);
    }
    if (one_of(l, {2, 8, 14, 20, 24, 28, 32, 36})) {
      fp8("attn.indexer.wq_b", 4096, 1280);
      bf16("attn.indexer.weights_proj", 32, kWidth);
    }
  }
  void block(int l, std::int64_t experts) {
    attention(l);
    norm("attn_norm.weight", kWidth);
    norm("ffn_norm.weight", kWidth);
    bf16("ffn.gate", experts, kWidth);
    add("ffn.gate.bias", "F32", {experts});
    add("ffn.gate.bias_vl", "F32", {experts});
    for (std::int64_t e = 0; e < experts; ++e) {
      const std::string p = fmt::format("ffn.experts.{}.", e);
      fp4(p + "w1", kExpertWidth, kWidth);
      fp4(p + "w2", kWidth, kExpertWidth);
      fp4(p + "w3", kExpertWidth, kWidth);
    }
    fp8("ffn.shared_experts.w1", kExpertWidth, kWidth);
    fp8("ffn.shared_experts.w2", kWidth, kExpertWidth);
    fp8("ffn.shared_experts.w3", kExpertWidth, kWidth);
    for (const char* site : {"hc_attn", "hc_ffn"}) {
      add(fmt::format("{}_fn", site), "F32", {24, 4 * kWidth});
      add(fmt::format("{}_base", site), "F32", {24});
      add(fmt::format("{}_scale", site), "F32", {3});
    }
  }
  void engram() {
    fp8("engram.wkv", 5 * kWidth, 6144);
    add("engram.q_weight", "BF16", {4, kWidth});
    add("engram.k_weight", "BF16", {4, kWidth});
  }
  void table(int l, std::int64_t rows) {
    at(fmt::format("table {}", l), fmt::format("layers.{}.engram.embed.", l));
    add("weight", "F8_E4M3", {rows, 256});
    add("scale", "F8_E8M0", {rows, 8});
  }
  void draft(int s) {
    at(fmt::format("mtp.{}", s), fmt::format("mtp.{}.", s));
    block(-1, 128);
    if (s == 0) {
      fp8("main_proj", kWidth, 3 * kWidth);
      norm("main_norm.weight", kWidth);
    }
    if (s != 2) return;
    norm("norm.weight", kWidth);
    bf16("markov_head.embed", kVocab, 256);
    bf16("markov_head.head", kVocab, 256);
    bf16("confidence_head.proj", 1, kWidth + 256);
  }
  void dense(const std::string& name, std::int64_t rows, std::int64_t cols) {
    bf16(name, rows, cols);
    norm(name + ".bias", rows);
  }
  void vision() {
    dense("vision.patch_embed.proj", 1024, 588);
    for (int n = 0; n < 32; ++n) {
      const std::string p = fmt::format("vision.blocks.{}.", n);
      norm(p + "norm1.weight", 1024);
      norm(p + "norm2.weight", 1024);
      dense(p + "attn.wqkv", 3072, 1024);
      dense(p + "attn.wo", 1024, 1024);
      bf16(p + "mlp.w1", 5632, 1024);
      bf16(p + "mlp.w2", 1024, 2816);
    }
    norm("vision.norm.weight", 1024);
    dense("aligner.w1", kWidth, 9 * 1024);
    dense("aligner.w2", kWidth, kWidth);
    for (const char* name : {"image_start", "image_end", "image_newline"}) norm(name, kWidth);
  }

  std::string shard_, prefix_;
  std::vector<LayoutTensor> out_;
};

}  // namespace

std::vector<LayoutTensor> v41_tensors() { return Layout().all(); }

}  // namespace v4i::test
