// v4i_session_timeline: time, bytes and flops of a session's runs, part by part.
//
//   {"decode": {"runs", "tokens", "experts", "total_ns", "idle_ns", "parts": {NAME:
//    {"ns", "bytes", "flops"}}}, "prefill": the same}
//
// Decode: runs in which every sequence had one token.  Idle: how long a thread had
// nothing to do, on average (profile.h).
#include <nlohmann/json.hpp>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/model/parts.h"

using namespace v4i;
using namespace v4i::capi;

namespace {

using Json = nlohmann::ordered_json;

template <class Totals>
Json totals_json(const Totals& t) {
  Json parts = Json::object();
  std::uint64_t total = 0;
  for (int i = 0; i < model::kPartCount; ++i) {
    const auto part = static_cast<model::Part>(i);
    total += t.ns[part];
    if (t.ns[part] + t.bytes[part] + t.flops[part] == 0) continue;
    parts[model::part_name(part)] =
        Json{{"ns", t.ns[part]}, {"bytes", t.bytes[part]}, {"flops", t.flops[part]}};
  }
  return Json{{"runs", t.runs},    {"tokens", t.tokens},   {"experts", t.experts},
              {"total_ns", total}, {"idle_ns", t.idle_ns}, {"parts", std::move(parts)}};
}

}  // namespace

extern "C" {

v4i_status v4i_session_timeline(v4i_session* s, int32_t format, v4i_buffer** out, v4i_error** err) {
  return guard(err, [&] {
    SessionRead call(s);
    if (format != V4I_FORMAT_JSON)
      fail(Code::kUnsupported, "timelines are written as V4I_FORMAT_JSON only, not as {}", format);
    const auto* profile = call->profile();
    if (profile == nullptr)
      fail(Code::kState,
           "the session records no timeline: set bit 2 of v4i_session_options.capture");
    const Json json{{"decode", totals_json(profile->decode())},
                    {"prefill", totals_json(profile->prefill())}};
    write_buffer(json.dump(), out, "out");
  });
}

}  // extern "C"
