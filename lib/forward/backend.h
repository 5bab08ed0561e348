// Backend: a kind of machine that runs layers.  The engine chooses one and opens models on it.
//
// Any thread, but for the executors it opens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lib/engram/tables.h"
#include "lib/experts/experts.h"
#include "lib/forward/executor.h"
#include "lib/forward/options.h"
#include "lib/model/model.h"
#include "lib/store/memory.h"

namespace v4i::forward {

// What a backend computes on, besides the CPU.
struct DeviceInfo {
  std::string name;                                 // "NVIDIA H100 80GB HBM3"
  std::string arch;                                 // "sm_90"
  std::uint64_t memory_total = 0, memory_free = 0;  // bytes
};

// What a model looks up besides KV rows.
struct Lookups {
  std::shared_ptr<experts::Experts> experts;
  std::shared_ptr<engram::Tables> engram;  // null where the model has no n-gram tables
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* name() const = 0;  // "cpu"
  // What computes here, for people: "avx2", "sm_90".
  virtual const std::string& identity() const = 0;
  virtual bool has_device() const noexcept { return false; }
  // Its device, as it is now (a lost one has no free memory); nothing where the CPU does it all.
  virtual std::optional<DeviceInfo> device() const { return {}; }
  // Its executors ask for the compressed rows of indexed layers one by one (kv::RowWave); else
  // all rows of a layer are in memory while it is computed.
  virtual bool reads_single_rows() const noexcept { return false; }
  // Where its executors keep KV rows.
  virtual const std::shared_ptr<store::Memory>& memory() const = 0;
  // Error(kUnsupported) naming the first thing of the model, or of the numerics, that this backend
  // has no kernel for; kNoMemory when the workspace does not fit.  Weights of `model` and `lookups`
  // are in the host's memory, unchecked: an executor calls Model::check_rows or trust_rows for rows
  // that it meets for the first time.
  virtual std::unique_ptr<Executor> open(std::shared_ptr<const model::Model> model, Lookups lookups,
                                         const Options& options) = 0;
};

}  // namespace v4i::forward
