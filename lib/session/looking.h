// Session::Looking: adds what a run looks up to its sessions' metrics.  Private to lib/session.
#pragma once

#include <span>

#include "lib/session/session.h"

namespace v4i::session {

// Under the compute lock.
class Session::Looking {
 public:
  explicit Looking(std::span<Session* const> sessions) : sessions_(sessions) {
    for (Session* s : sessions_) s->before_ = s->looked_up();
  }
  ~Looking() {
    for (Session* s : sessions_) {
      const Lookups now = s->looked_up();
      for (auto field :
           {&Lookups::kv_rows, &Lookups::kv_row_loads, &Lookups::kv_wait_ns, &Lookups::expert_uses,
            &Lookups::expert_loads, &Lookups::expert_load_bytes, &Lookups::engram_rows,
            &Lookups::engram_hits, &Lookups::engram_bytes, &Lookups::engram_gate_count})
        s->metrics_.lookups.*field += now.*field - s->before_.*field;
      s->metrics_.lookups.engram_gate_sum += now.engram_gate_sum - s->before_.engram_gate_sum;
    }
  }
  Looking(const Looking&) = delete;
  Looking& operator=(const Looking&) = delete;

 private:
  std::span<Session* const> sessions_;
};

}  // namespace v4i::session
