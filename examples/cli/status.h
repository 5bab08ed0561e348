// The status line: where memory is, and how often what was needed was in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common.h"

namespace cli {

struct Status {
  std::uint64_t ram = 0;                       // used of the budget
  std::optional<std::uint64_t> ram_cap, disk;  // bytes
  Hits hits;
};

Status status_of(const Opened& opened, const ModelArgs& args, const Hits& hits);
// "ram 3.1/4.0 G | disk 12 G | kv hit 97% | expert hit 61%", without what is not known.
std::string status_text(const Status& s);
Json status_json(const Status& s);

}  // namespace cli
