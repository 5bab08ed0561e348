// The part of a Config that only DeepSeek-V4.1 has: which layers share rows and
// selections, Engram, draft experts, the image tower.  Private to lib/model.
#pragma once

#include <string>

#include "lib/model/config.h"

namespace v4i::model {

class ConfigReader;

// `r` finds the language model's keys, `top` those at the top of the file.  The fields
// that both families have are already in `c`.  Throws as parse_config() does.
void read_v41(const ConfigReader& r, const ConfigReader& top, Config& c, const std::string& name);

}  // namespace v4i::model
