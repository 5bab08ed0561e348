// Section 11 of v4infer.h: logits, probabilities, metrics.
#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/sampling/sampler.h"

using namespace v4i;
using namespace v4i::capi;

namespace {

v4i_session_metrics metrics_of(const session::Session& s) {
  const session::Metrics& m = s.metrics();
  auto out = zeroed<v4i_session_metrics>();
  out.prefill_tokens = m.prefill_tokens;
  out.decode_tokens = m.decode_tokens;
  out.prefill_ns = m.prefill_ns;
  out.decode_ns = m.decode_ns;
  out.first_token_ns = m.first_token_ns;
  out.drafted = m.drafted;
  out.accepted = m.accepted;
  out.expert_loads = m.lookups.expert_loads;
  out.expert_load_bytes = m.lookups.expert_load_bytes;
  out.kv_wait_ns = m.lookups.kv_wait_ns;
  out.expert_uses = m.lookups.expert_uses;
  out.kv_rows = m.lookups.kv_rows;
  out.kv_row_loads = m.lookups.kv_row_loads;
  return out;
}

// Functions that exist in the interface and have nothing behind them yet.
v4i_status not_built(const v4i_session* s, const char* what, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    fail(Code::kUnsupported, "{} not part of this build", what);
  });
}

}  // namespace

extern "C" {

v4i_status v4i_session_logits(v4i_session* s, const float** out, size_t* count, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    const float*& to = not_null(out, "out");
    size_t& to_count = not_null(count, "count");
    const std::span<const float> logits = call->logits();
    to = logits.data();
    to_count = logits.size();
  });
}

v4i_status v4i_session_top_probs(v4i_session* s, v4i_token_prob* out, size_t cap, size_t* count,
                                 v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    size_t& to_count = not_null(count, "count");
    const std::span<const float> logits = call->logits();
    const std::size_t n = std::min(cap, logits.size());
    if (n > 0) not_null(out, "out");
    const auto best = sampling::top_logprobs(logits, n);
    for (std::size_t i = 0; i < best.size(); ++i) out[i] = {best[i].first, best[i].second};
    to_count = best.size();
  });
}

v4i_status v4i_session_embedding(v4i_session* s, int32_t, float*, size_t, size_t*,
                                 v4i_error** err) {
  return not_built(s, "embeddings are", err);
}

v4i_status v4i_session_expert_stats(v4i_session* s, v4i_expert_stat*, size_t, size_t*,
                                    v4i_error** err) {
  return not_built(s, "expert statistics are", err);
}

v4i_status v4i_session_engram_stats(v4i_session* s, v4i_engram_stats* out, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    const session::Session& from = call.session();
    if (from.context().engram() == nullptr)
      fail(Code::kUnsupported, "{}: the model has no n-gram tables",
           from.context().model().path());
    const session::Lookups& l = from.metrics().lookups;
    auto stats = zeroed<v4i_engram_stats>();
    stats.lookups = l.engram_rows;
    stats.table_hits = l.engram_hits;
    stats.bytes_read = l.engram_bytes;
    if (l.engram_gate_count > 0)
      stats.mean_gate = l.engram_gate_sum / static_cast<double>(l.engram_gate_count);
    write_struct(stats, out, "v4i_engram_stats");
  });
}

v4i_status v4i_session_get_metrics(const v4i_session* s, v4i_session_metrics* out,
                                   v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    write_struct(metrics_of(call.session()), out, "v4i_session_metrics");
  });
}

}  // extern "C"
