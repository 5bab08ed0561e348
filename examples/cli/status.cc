// The status line; see status.h.
#include "status.h"

#include <cstdio>

namespace cli {
namespace {

struct Unit {
  double bytes;
  char name;
};

Unit unit_of(std::uint64_t bytes) {
  for (const Unit u : {Unit{1024.0 * 1024 * 1024, 'G'}, {1024.0 * 1024, 'M'}})
    if (static_cast<double>(bytes) >= u.bytes) return u;
  return {1024, 'K'};
}

std::string number(std::uint64_t bytes, const Unit& u) {
  const double value = static_cast<double>(bytes) / u.bytes;
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.1f" : "%.0f", value);
  return text;
}

std::string percent(const char* name, double share) {
  char text[48];
  std::snprintf(text, sizeof text, " | %s hit %.0f%%", name, 100 * share);
  return text;
}

}  // namespace

Status status_of(const Opened& opened, const ModelArgs& args, const Hits& hits) {
  const v4i_memory_stats m = take(opened.engine.memory());
  Status s;
  s.ram = m.host_weights + m.host_kv + m.host_scratch;
  if (args.ram != 0) s.ram_cap = args.ram;
  if (opened.disk) s.disk = m.disk_kv;
  s.hits = hits;
  return s;
}

std::string status_text(const Status& s) {
  const Unit ram = unit_of(s.ram_cap.value_or(s.ram));
  std::string text = "ram " + number(s.ram, ram);
  if (s.ram_cap) text += "/" + number(*s.ram_cap, ram);
  text += std::string(" ") + ram.name;
  if (s.disk) {
    const Unit disk = unit_of(*s.disk);
    text += " | disk " + number(*s.disk, disk) + " " + disk.name;
  }
  if (s.hits.kv) text += percent("kv", *s.hits.kv);
  if (s.hits.expert) text += percent("expert", *s.hits.expert);
  return text;
}

Json status_json(const Status& s) {
  Json out{{"ram_bytes", s.ram}};
  if (s.ram_cap) out["ram_cap_bytes"] = *s.ram_cap;
  if (s.disk) out["disk_bytes"] = *s.disk;
  if (s.hits.kv) out["kv_hits"] = *s.hits.kv;
  if (s.hits.expert) out["expert_hits"] = *s.hits.expert;
  return out;
}

}  // namespace cli
