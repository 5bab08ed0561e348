// Experts: the routed experts of a model, acquired by (layer, id), then used.
//
// Which experts a layer needs is known when its router has chosen.  acquire() pins those that are
// there and fetches the others (an expert is six ranges of files: three matrices and their
// scales); wait() hands them out in waves of rising ids, which is the order
// in which they are added, so results do not depend on what arrived first.
//
// Today every expert is a view of the mapped checkpoint: acquiring costs nothing, and one wave
// has them all.
//
// One lease at a time per executor; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "lib/model/model.h"

namespace v4i::experts {

class Experts {
 public:
  class Lease {
   public:
    Lease(Experts& from, int layer, std::span<const std::int32_t> ids)
        : from_(&from), layer_(layer), ids_(ids) {}
    ~Lease() {
      if (from_ != nullptr) from_->release(layer_, ids_);
    }
    Lease(Lease&& o) noexcept
        : from_(std::exchange(o.from_, nullptr)), layer_(o.layer_), ids_(o.ids_) {}
    Lease& operator=(Lease&&) = delete;

    // Waits for expert `first` of the ids, at least; the end of those that are there in a row.
    std::size_t wait(std::size_t first) { return from_->wait(layer_, ids_, first); }
    // One that wait() has given.
    const model::Expert& operator[](std::size_t i) const { return from_->view(layer_, ids_[i]); }

   private:
    Experts* from_;
    int layer_;
    std::span<const std::int32_t> ids_;
  };

  virtual ~Experts() = default;
  // `ids`, rising, stay the caller's and unchanged while the lease lives.  Layers behind the
  // model's own are its draft stages.
  virtual Lease acquire(int layer, std::span<const std::int32_t> ids) {
    return Lease(*this, layer, ids);
  }

 protected:
  virtual std::size_t wait(int layer, std::span<const std::int32_t> ids, std::size_t first) = 0;
  virtual const model::Expert& view(int layer, std::int32_t id) const = 0;
  virtual void release(int, std::span<const std::int32_t>) noexcept {}
};

// Views of the mapped checkpoint.
std::shared_ptr<Experts> mapped_experts(std::shared_ptr<const model::Model> model);

}  // namespace v4i::experts
