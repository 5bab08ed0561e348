// Two averages with different memories; see heat.h.
#include "lib/experts/heat.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace v4i::experts {

namespace {

constexpr char kMagic[8] = {'V', '4', 'I', 'H', 'E', 'A', 'T', '1'};

struct Header {
  char magic[8];
  Digest model;
  std::int32_t layers, experts;
  std::uint64_t checksum;  // of the values
};
static_assert(sizeof(Header) == 56);

}  // namespace

Heat::Heat(int layers, std::int32_t experts, float now)
    : layers_(layers),
      experts_(experts),
      now_share_(now),
      now_(static_cast<std::size_t>(layers) * static_cast<std::size_t>(experts)),
      ever_(now_.size()) {}

void Heat::used(int layer, std::span<const std::int32_t> ids, const Uses& uses) {
  const auto tokens = static_cast<float>(std::max<std::int64_t>(uses.tokens, 1));
  const float keep_now = std::exp2(-tokens / kNowTokens),
              keep_ever = std::exp2(-tokens / kEverTokens);
  float* now = &now_[at(layer, 0)];
  float* ever = &ever_[at(layer, 0)];
  for (std::int32_t e = 0; e < experts_; ++e) {
    now[e] *= keep_now;
    ever[e] *= keep_ever;
  }
  for (const std::int32_t id : ids) {
    const auto n =
        uses.begin == nullptr ? 1.0f : static_cast<float>(uses.begin[id + 1] - uses.begin[id]);
    const float share = std::min(n / tokens, 1.0f);
    now[id] += (1 - keep_now) * share;
    ever[id] += (1 - keep_ever) * share;
  }
}

float Heat::chance(int layer, std::int32_t id) const {
  const std::size_t i = at(layer, id);
  return now_share_ * now_[i] + (1 - now_share_) * ever_[i];
}

std::string Heat::save(const Digest& model) const {
  const std::size_t bytes = ever_.size() * sizeof(float);
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.model = model;
  h.layers = layers_;
  h.experts = experts_;
  h.checksum = checksum64(ever_.data(), bytes);
  std::string out(sizeof h + bytes, '\0');
  std::memcpy(out.data(), &h, sizeof h);
  std::memcpy(out.data() + sizeof h, ever_.data(), bytes);
  return out;
}

bool Heat::restore(std::string_view bytes, const Digest& model) {
  const std::size_t wanted = ever_.size() * sizeof(float);
  Header h;
  if (bytes.size() != sizeof h + wanted) return false;
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0 || h.model != model || h.layers != layers_ ||
      h.experts != experts_)
    return false;
  std::vector<float> values(ever_.size());
  std::memcpy(values.data(), bytes.data() + sizeof h, wanted);
  if (checksum64(values.data(), wanted) != h.checksum) return false;
  if (!std::all_of(values.begin(), values.end(), [](float v) { return v >= 0 && v <= 1; }))
    return false;
  ever_ = std::move(values);
  return true;
}

}  // namespace v4i::experts
