// Experts in the mapped checkpoint: always there, as far as anybody can tell.
#include "lib/experts/experts.h"

namespace v4i::experts {

namespace {

class Mapped final : public Experts {
 public:
  explicit Mapped(std::shared_ptr<const model::Model> model) : model_(std::move(model)) {}

 protected:
  std::size_t wait(int, std::span<const std::int32_t> ids, std::size_t) override {
    return ids.size();
  }
  const model::Expert& view(int layer, std::int32_t id) const override {
    return model_->block(layer).ffn.experts[static_cast<std::size_t>(id)];
  }

 private:
  std::shared_ptr<const model::Model> model_;
};

}  // namespace

std::shared_ptr<Experts> mapped_experts(std::shared_ptr<const model::Model> model) {
  return std::make_shared<Mapped>(std::move(model));
}

}  // namespace v4i::experts
