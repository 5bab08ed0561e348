// The heat of a model's experts in a file, from one process to the next:
// FOLDER/experts-DIGEST.heat.
//
// It only decides what is read first, so whatever is wrong with the file costs time and a sentence
// in the log.  Any thread.
#pragma once

#include <functional>
#include <string>

#include "lib/base/hash.h"
#include "lib/experts/experts.h"

namespace v4i::experts {

using Log = std::function<void(const std::string&)>;

std::string heat_path(const std::string& folder, const Digest& model);
void load_heat(Experts& experts, const std::string& path, const Log& log);
// Replaces the file as a whole; readable by its owner only.
void save_heat(const Experts& experts, const std::string& path, const Log& log) noexcept;

}  // namespace v4i::experts
