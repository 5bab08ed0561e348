// The tensor names of a checkpoint, part by part; see weights.h.
#include "lib/model/weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/loader/checkpoint.h"
#include "lib/model/binder.h"

namespace v4i::model {

namespace {

// Knows the names and shapes of spec 1.4, and of V4.1's section 4; Binder knows how to take a
// tensor.
class Names {
 public:
  Names(const loader::Checkpoint& checkpoint, const Config& config, const Plan& plan)
      : b_(checkpoint, config.fp8_block),
        c_(config),
        plan_(plan),
        expert_format_(b_.expert_format("layers.0.ffn.experts.0.w1.weight", config.expert_dtype)) {}

  Weights bind(const loader::Checkpoint& checkpoint) {
    Weights w;
    w.embed = b_.plain("embed.weight", c_.vocab, c_.width);
    w.head = b_.plain("head.weight", c_.vocab, c_.width);
    w.norm = b_.vector("norm.weight", {c_.width});
    if (plan_.draft.mhc == MhcKind::kSameSite) w.hc_head = hyper_head("");
    w.vision = bind_vision(b_, c_);
    for (std::size_t i = 0; i < plan_.layers.size(); ++i)
      w.layers.push_back(block(fmt::format("layers.{}.", i), plan_.layers[i], static_cast<int>(i)));
    const int stages = draft_stages(checkpoint);
    if (stages > 0 && b_.has("mtp.0.main_proj.weight"))
      w.dspark = dspark(stages, checkpoint);
    else if (stages > 0)
      w.mtp.push_back(mtp(stages, checkpoint));
    b_.finish();
    return w;
  }

 private:
  Compressor compressor(const std::string& p, const LayerPlan& plan, std::int64_t dim) {
    const std::int64_t wide = (plan.overlap ? 2 : 1) * dim;
    Compressor out;
    if (plan.ape) out.ape = b_.vector(p + "ape", {plan.ratio, wide});
    out.norm = b_.vector(p + "norm.weight", {dim});
    out.wkv = b_.plain(p + "wkv.weight", wide, c_.width);
    if (plan.gate) out.wgate = b_.plain(p + "wgate.weight", wide, c_.width);
    return out;
  }

  Indexer indexer(const std::string& p, const LayerPlan& plan, bool owns_keys) {
    Indexer out;
    out.wq_b = b_.dense(p + "wq_b", c_.index_heads * c_.index_dim, c_.q_lora);
    out.weights_proj = b_.plain(p + "weights_proj.weight", c_.index_heads, c_.width);
    if (plan.attention == AttentionKind::kCsa) {
      out.compressor = compressor(p + "compressor.", plan, c_.index_dim);
    } else if (owns_keys) {
      out.wk = b_.plain(p + "wk.weight", c_.index_dim, c_.head_dim);
      out.k_norm = b_.vector(p + "k_norm.weight", {c_.index_dim});
    }
    return out;
  }

  Attention attention(const std::string& p, const LayerPlan& plan, int layer) {
    Attention out;
    out.sink = b_.vector(p + "attn_sink", {c_.heads});
    out.q_norm = b_.vector(p + "q_norm.weight", {c_.q_lora});
    out.kv_norm = b_.vector(p + "kv_norm.weight", {c_.head_dim});
    out.wq_a = b_.dense(p + "wq_a", c_.q_lora, c_.width);
    out.wq_b = b_.dense(p + "wq_b", c_.heads * c_.head_dim, c_.q_lora);
    out.wkv = b_.dense(p + "wkv", c_.head_dim, c_.width);
    out.wo_a = b_.dense(p + "wo_a", c_.o_groups * c_.o_lora, c_.heads * c_.head_dim / c_.o_groups);
    out.wo_b = b_.dense(p + "wo_b", c_.width, c_.o_groups * c_.o_lora);
    if (plan.main_from == layer && layer >= 0)
      out.compressor = compressor(p + "compressor.", plan, c_.head_dim);
    if (plan.indexer) out.indexer = indexer(p + "indexer.", plan, plan.index_from == layer);
    return out;
  }

  Hyper hyper(const std::string& p) {
    const std::int64_t n = c_.hc_mult, mix = (2 + n) * n;
    return {b_.plain(p + "_fn", mix, n * c_.width), b_.vector(p + "_base", {mix}),
            b_.vector(p + "_scale", {3})};
  }

  HyperHead hyper_head(const std::string& p) {
    const std::int64_t n = c_.hc_mult;
    return {b_.plain(p + "hc_head_fn", n, n * c_.width), b_.vector(p + "hc_head_base", {n}),
            b_.vector(p + "hc_head_scale", {1})};
  }

  Moe moe(const std::string& p, const LayerPlan& plan, std::int64_t experts) {
    Moe out;
    out.gate = b_.plain(p + "gate.weight", experts, c_.width);
    if (plan.router == RouterKind::kHash)
      out.tid2eid = b_.indices(p + "gate.tid2eid", c_.vocab, c_.experts_active, experts);
    else
      out.bias = b_.vector(p + "gate.bias", {experts});
    if (plan.router_biases > 1) out.bias_media = b_.vector(p + "gate.bias_vl", {experts});
    const std::int64_t wide = c_.expert_width;
    for (std::int64_t e = 0; e < experts; ++e) {
      const std::string q = fmt::format("{}experts.{}.", p, e);
      Expert& x = out.experts.emplace_back();
      x.w1 = b_.expert(q + "w1", wide, c_.width, expert_format_);
      x.w3 = b_.expert(q + "w3", wide, c_.width, expert_format_);
      x.w2 = b_.expert(q + "w2", c_.width, wide, expert_format_);
    }
    if (c_.shared_experts > 0) {
      out.shared.w1 = b_.dense(p + "shared_experts.w1", wide, c_.width);
      out.shared.w3 = b_.dense(p + "shared_experts.w3", wide, c_.width);
      out.shared.w2 = b_.dense(p + "shared_experts.w2", c_.width, wide);
    }
    return out;
  }

  EngramWeights engram(const std::string& p, int layer) {
    const EngramConfig& e = c_.engram;
    const auto at = std::find(e.layers.begin(), e.layers.end(), layer) - e.layers.begin();
    const std::int64_t n = c_.hc_mult;
    EngramWeights out;
    out.wkv = b_.dense(p + "wkv", (n + 1) * c_.width, (e.max_ngram - 1) * e.heads * e.head_dim);
    out.qk = b_.vector(p + "q_weight", {n, c_.width});
    const Vector k = b_.vector(p + "k_weight", {n, c_.width});
    for (std::size_t i = 0; i < k.size(); ++i) out.qk[i] *= k[i];
    out.table = b_.table(p + "embed", e.rows[static_cast<std::size_t>(at)], e.head_dim);
    return out;
  }

  // `layer` is -1 for draft stages.
  Block block(const std::string& p, const LayerPlan& plan, int layer) {
    Block out;
    out.attn_norm = b_.vector(p + "attn_norm.weight", {c_.width});
    out.ffn_norm = b_.vector(p + "ffn_norm.weight", {c_.width});
    out.hc_attn = hyper(p + "hc_attn");
    out.hc_ffn = hyper(p + "hc_ffn");
    out.attn = attention(p + "attn.", plan, layer);
    out.ffn = moe(p + "ffn.", plan, layer < 0 && c_.is_v41() ? c_.draft_experts : c_.experts);
    if (plan.engram) out.engram = engram(p + "engram.", layer);
    return out;
  }

  // What the files hold, which must be what the plan says; files without any draft
  // tensor are a backbone and are welcome.
  int draft_stages(const loader::Checkpoint& checkpoint) const {
    int stages = 0;
    while (b_.has_prefix(fmt::format("mtp.{}.", stages))) ++stages;
    if (stages != 0 && stages != plan_.draft_stages)
      fail(Code::kFormat,
           "{}: the tensors hold {} draft stages (mtp.N), but compress_ratios in config.json has "
           "{} entries beyond the {} layers",
           checkpoint.folder(), stages, plan_.draft_stages, c_.layers);
    return stages;
  }

  Mtp mtp(int stages, const loader::Checkpoint& checkpoint) {
    if (stages != 1)
      fail(Code::kUnsupported, "{}: {} MTP blocks without DSpark tensors, expected 1",
           checkpoint.folder(), stages);
    const std::string p = "mtp.0.";
    Mtp out;
    out.block = block(p, plan_.draft, -1);
    out.e_proj = b_.dense(p + "e_proj", c_.width, c_.width);
    out.h_proj = b_.dense(p + "h_proj", c_.width, c_.width);
    out.enorm = b_.vector(p + "enorm.weight", {c_.width});
    out.hnorm = b_.vector(p + "hnorm.weight", {c_.width});
    out.norm = b_.vector(p + "norm.weight", {c_.width});
    out.head = hyper_head(p);
    return out;
  }

  Dspark dspark(int stages, const loader::Checkpoint& checkpoint) {
    if (c_.dspark_block_size == 0)
      fail(Code::kFormat,
           "{}: tensor mtp.0.main_proj.weight is DSpark's, but config.json has no "
           "dspark_block_size",
           checkpoint.folder());
    Dspark out;
    for (int s = 0; s < stages; ++s)
      out.stages.push_back(block(fmt::format("mtp.{}.", s), plan_.draft, -1));
    const auto taps = static_cast<std::int64_t>(c_.dspark_target_layers.size());
    const std::string last = fmt::format("mtp.{}.", stages - 1);
    out.main_proj = b_.dense("mtp.0.main_proj", c_.width, taps * c_.width);
    out.main_norm = b_.vector("mtp.0.main_norm.weight", {c_.width});
    out.norm = b_.vector(last + "norm.weight", {c_.width});
    if (plan_.draft.mhc == MhcKind::kSameSite) out.head = hyper_head(last);
    const std::int64_t rank = c_.dspark_markov_rank;
    const std::string markov = last + "markov_head.";
    out.markov_w1 =
        b_.plain(markov + (c_.is_v41() ? "embed.weight" : "markov_w1.weight"), c_.vocab, rank);
    out.markov_w2 =
        b_.plain(markov + (c_.is_v41() ? "head.weight" : "markov_w2.weight"), c_.vocab, rank);
    out.confidence = b_.plain(last + "confidence_head.proj.weight", 1, c_.width + rank);
    return out;
  }

  Binder b_;
  const Config& c_;
  const Plan& plan_;
  WeightFormat expert_format_;
};

}  // namespace

Weights bind_weights(const loader::Checkpoint& checkpoint, const Config& config, const Plan& plan) {
  return Names(checkpoint, config, plan).bind(checkpoint);
}

}  // namespace v4i::model
