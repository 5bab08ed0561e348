// TableSource: what Tables needs of an opened model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/model/model.h"

namespace v4i::engram {

struct TableSource {
  std::shared_ptr<const void> owner;  // keeps what follows alive
  const loader::Checkpoint* checkpoint = nullptr;
  const model::Config* config = nullptr;
  std::string name;                   // of config.json, for messages
  std::vector<const Weight*> tables;  // for each of config->engram.layers, in the mapping
};

TableSource source_of(std::shared_ptr<const model::Model> model);

}  // namespace v4i::engram
