// The JSON of v4i_model_describe(); see model_info.h.
#include <nlohmann/json.hpp>

#include "lib/capi/model_info.h"
#include "lib/model/parts.h"

namespace v4i::capi {
namespace {

using Json = nlohmann::ordered_json;

const char* attention_name(model::AttentionKind kind) {
  switch (kind) {
    case model::AttentionKind::kWindow:
      return "window";
    case model::AttentionKind::kCsa:
      return "csa";
    case model::AttentionKind::kHca:
      return "hca";
    case model::AttentionKind::kCsa2:
      return "csa2";
  }
  return "unknown";
}

Json describe_config(const model::Config& c) {
  return Json{{"model_type", c.model_type},
              {"vocab", c.vocab},
              {"width", c.width},
              {"layers", c.layers},
              {"hash_layers", c.hash_layers},
              {"heads", c.heads},
              {"head_dim", c.head_dim},
              {"rope_dim", c.rope_dim},
              {"q_lora", c.q_lora},
              {"o_groups", c.o_groups},
              {"o_lora", c.o_lora},
              {"window", c.window},
              {"rope_theta", c.rope_theta},
              {"compress_rope_theta", c.compress_rope_theta},
              {"rope_factor", c.rope_scaling.factor},
              {"max_positions", c.max_positions},
              {"index_heads", c.index_heads},
              {"index_dim", c.index_dim},
              {"index_topk", c.index_topk},
              {"hc_mult", c.hc_mult},
              {"experts", c.experts},
              {"experts_active", c.experts_active},
              {"shared_experts", c.shared_experts},
              {"expert_width", c.expert_width},
              {"route_scale", c.route_scale},
              {"swiglu_limit", c.swiglu_limit},
              {"bos", c.bos},
              {"eos", c.eos},
              {"dspark_block_size", c.dspark_block_size}};
}

Json describe_layer(const model::LayerPlan& l) {
  return Json{{"attention", attention_name(l.attention)},
              {"ratio", l.ratio},
              {"indexer", l.indexer},
              {"router", l.router == model::RouterKind::kHash ? "hash" : "score"},
              {"rope", l.yarn_rope ? "yarn" : "plain"}};
}

// What one token reads and multiplies, part by part.
Json describe_token(const model::Model& m) {
  const auto costs = model::token_costs(m);
  Json out = Json::object();
  for (int i = 0; i < model::kPartCount; ++i) {
    const auto part = static_cast<model::Part>(i);
    if (costs[part].bytes > 0)
      out[model::part_name(part)] =
          Json{{"bytes", costs[part].bytes}, {"flops", costs[part].flops}};
  }
  return out;
}

Json describe_sizes(const model::Model& m) {
  std::uint64_t experts = 0, draft = 0;
  for (const auto& t : m.checkpoint().tensors()) {
    const std::uint64_t bytes = t.end - t.begin;
    if (t.name.rfind("mtp.", 0) == 0)
      draft += bytes;
    else if (t.name.find(".experts.") != std::string::npos)
      experts += bytes;
  }
  const std::uint64_t all = m.checkpoint().tensor_bytes();
  return Json{{"files", m.checkpoint().shard_count()},
              {"file_bytes", m.checkpoint().file_bytes()},
              {"tensors", m.checkpoint().tensors().size()},
              {"tensor_bytes", all},
              {"parameters", m.parameters()},
              {"expert_bytes", experts},
              {"draft_bytes", draft},
              {"dense_bytes", all - experts - draft},
              {"weight_bytes_per_token", weight_bytes_per_token(m)},
              {"per_token", describe_token(m)}};
}

Json describe_memory(session::Context& context) {
  const auto& layout = *context.layout();
  const std::int64_t most = context.context_max();
  Json at = Json::object();
  for (std::int64_t tokens = 4096; tokens < most; tokens *= 8)
    at[std::to_string(tokens)] = layout.bytes(static_cast<std::uint64_t>(tokens));
  at[std::to_string(most)] = layout.bytes(static_cast<std::uint64_t>(most));
  return Json{{"mapped_bytes", context.model().checkpoint().file_bytes()},
              {"workspace_bytes", context.forward().workspace_bytes()},
              {"context_max", most},
              {"kv_fixed_bytes", layout.fixed_bytes},
              {"kv_bytes_per_token", layout.bytes_per_token()},
              {"kv_bytes_at", at}};
}

Json describe_tensors(const model::Model& m) {
  Json list = Json::array();
  for (const auto& t : m.checkpoint().tensors())
    list.push_back(Json{{"name", t.name},
                        {"dtype", dtype_name(t.dtype)},
                        {"shape", t.shape},
                        {"bytes", t.end - t.begin},
                        {"shard", t.shard}});
  return list;
}

}  // namespace

std::string describe_model(session::Context& context, std::uint32_t flags) {
  const model::Model& m = context.model();
  Json layers = Json::array();
  for (const auto& l : m.plan().layers) layers.push_back(describe_layer(l));
  Json out{{"path", m.path()},
           {"digest", to_hex(m.digest())},
           {"tokenizer", context.has_tokenizer()},
           {"config", describe_config(m.config())},
           {"plan", Json{{"layers", layers}, {"draft_stages", m.plan().draft_stages}}},
           {"sizes", describe_sizes(m)},
           {"memory", describe_memory(context)}};
  if ((flags & V4I_DESCRIBE_TENSORS) != 0) out["tensors"] = describe_tensors(m);
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace v4i::capi
