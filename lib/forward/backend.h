// Backend: a kind of machine that runs layers.  The engine chooses one and opens models on it.
//
// Any thread, but for the executors it opens.
#pragma once

#include <memory>
#include <string>

#include "lib/experts/experts.h"
#include "lib/forward/executor.h"
#include "lib/forward/options.h"
#include "lib/model/model.h"
#include "lib/store/memory.h"

namespace v4i::forward {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* name() const = 0;  // "cpu"
  // Names what the bits of its results depend on: part of the names of KV blocks and of saved
  // sessions.  At most 31 characters.
  virtual const std::string& identity() const = 0;
  // Where its executors keep KV rows.
  virtual const std::shared_ptr<store::Memory>& memory() const = 0;
  // Error(kUnsupported) naming the first thing of the model, or of the numerics, that this backend
  // has no kernel for; kNoMemory when the workspace does not fit.  Weights of `model` and `experts`
  // are in the host's memory, unchecked: an executor calls Model::check_rows or trust_rows for rows
  // that it meets for the first time.
  virtual std::unique_ptr<Executor> open(std::shared_ptr<const model::Model> model,
                                         std::shared_ptr<experts::Experts> experts,
                                         const Options& options) = 0;
};

}  // namespace v4i::forward
