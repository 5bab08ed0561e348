// Tokens, sequences and block tables for the device; see run_data.h.
#include "lib/forward/cuda/run_data.h"

#include <algorithm>
#include <bit>

#include "lib/base/error.h"

namespace v4i::forward::cuda {

namespace {

namespace kc = kernels::cuda;

constexpr std::size_t kAlign = 64;
constexpr std::int64_t kLeastBound = 512;

std::size_t aligned(std::size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

kc::Token token_of(const Batch& batch, const Token& t) {
  kc::Token out;
  out.position = t.position;
  out.start = batch.start(t);
  out.id = t.id;
  out.sequence = t.item;
  out.row = t.row;
  out.role = t.role;
  return out;
}

// The fixed state begins this far before slot 0 of the window of the first layer.
const std::byte* fixed_of(const kv::State& s) {
  return s.window_row(0, 0) - s.layout().layers[0].window_offset;
}

std::byte* written_of(kv::State& s) {
  return s.new_window_row(0, 0) - s.layout().layers[0].window_offset;
}

}  // namespace

RunData::RunData(std::shared_ptr<Device> device, Budget& budget, const model::Config& config,
                 std::int64_t max_tokens, std::int64_t head_tokens)
    : device_(std::move(device)), budget_(budget), config_(config) {
  const auto n = static_cast<std::size_t>(max_tokens);
  outputs_at_ = aligned(n * sizeof(kc::Token));
  sequences_at_ = outputs_at_ + aligned(n * sizeof(kc::Token));
  head_at_ = sequences_at_ + aligned(n * sizeof(kc::Sequence));
  head_tokens_ = static_cast<std::size_t>(head_tokens);
  tables_at_ = head_at_ + aligned(head_tokens_ * sizeof(std::int32_t));
  embeddings_ = PinnedBuffer(device_, budget_, Use::kScratch,
                             n * static_cast<std::size_t>(config.width) * sizeof(float),
                             "embeddings for the device");
}

bool RunData::begin(const Batch& batch, const kv::Layout& layout) {
  layout_ = &layout;
  std::int64_t last = 0;
  for (const Token& t : batch.tokens()) last = std::max(last, t.position + 1);
  const auto power = std::bit_ceil(static_cast<std::uint64_t>(std::max(last, kLeastBound)));
  shape_ = {batch.n(), static_cast<std::int64_t>(batch.items().size()),
            std::max(last, std::min(static_cast<std::int64_t>(power), config_.max_positions))};
  end_ = place_tables();
  const bool moved = end_ > host_bytes_.bytes();
  if (moved) {
    const std::size_t room = end_ + end_ / 4;
    host_bytes_.reset();
    device_bytes_.reset();
    PinnedBuffer host(device_, budget_, Use::kScratch, room, "tables of KV blocks");
    device_bytes_ = DeviceBuffer(device_, budget_, Use::kScratch, room, "tables of KV blocks");
    host_bytes_ = std::move(host);  // last: its size says what there is
    std::fill_n(host_bytes_.host(), room, std::uint8_t{0});
  }
  auto* tokens = host<kc::Token>(0);
  for (const Token& t : batch.tokens()) *tokens++ = token_of(batch, t);
  auto* sequences = host<kc::Sequence>(sequences_at_);
  for (std::size_t i = 0; i < batch.items().size(); ++i) {
    const Item& item = batch.items()[i];
    kc::Sequence s;
    s.fixed = reinterpret_cast<const std::uint8_t*>(fixed_of(*item.state));
    s.written = reinterpret_cast<std::uint8_t*>(written_of(*item.state));
    s.start = item.state->length();
    s.first = batch.first_row(i);
    s.count = static_cast<std::int32_t>(item.tokens.size());
    sequences[i] = s;
  }
  return moved;
}

// Of every layer; returns where they end.
std::size_t RunData::place_tables() {
  const auto sequences = static_cast<std::size_t>(shape_.sequences);
  tables_.assign(layout_->layers.size() * 2, {});
  std::size_t at = tables_at_;
  for (std::size_t l = 0; l < layout_->layers.size(); ++l) {
    const kv::LayerLayout& layer = layout_->layers[l];
    if (layer.ratio == 0) continue;
    for (const bool index : {false, true}) {
      if (index && !layer.index_keys) continue;
      Table& t = table(static_cast<int>(l), index);
      t.at = at;
      t.capacity = shape_.bound / layer.ratio / layout_->rows_per_block + 1;
      t.blocks_at = at + aligned(sequences * sizeof(std::int32_t));
      t.end = t.blocks_at + sequences * static_cast<std::size_t>(t.capacity) * sizeof(void*);
      at = aligned(t.end);
    }
  }
  return at;
}

void RunData::set_outputs(const Batch& out) {
  auto* tokens = host<kc::Token>(outputs_at_);
  for (const Token& t : out.tokens()) *tokens++ = token_of(out, t);
}

void RunData::fill_table(Table& t, const Batch& batch, int layer, bool index) {
  const kv::RowKind kind = index ? kv::RowKind::kIndex : kv::RowKind::kMain;
  const std::int64_t ratio = layout_->layers[static_cast<std::size_t>(layer)].ratio;
  const std::int64_t per_block = layout_->rows_per_block;
  auto* first = host<std::int32_t>(t.at);
  auto** block = host<const std::byte*>(t.blocks_at);
  for (std::size_t s = 0; s < batch.items().size(); ++s) {
    const Item& item = batch.items()[s];
    const auto begin = static_cast<std::int64_t>(s) * t.capacity;
    first[s] = static_cast<std::int32_t>(begin);
    const std::int64_t old = item.state->length() / ratio;
    const std::int64_t rows =
        (item.state->length() + static_cast<std::int64_t>(item.tokens.size())) / ratio;
    for (std::int64_t r = 0; r < rows; r += per_block)
      block[begin + r / per_block] = item.state->row(layer, kind, r);
    // Rows of this run go to blocks that may be written.
    for (std::int64_t r = old; r < rows; r = (r / per_block + 1) * per_block)
      V4I_CHECK(
          item.state->new_row(layer, kind, r) ==
          block[begin + r / per_block] +
              static_cast<std::size_t>(r % per_block) *
                  layout_->row_bytes(layout_->layers[static_cast<std::size_t>(layer)], index));
  }
}

void RunData::set_blocks(const Batch& batch, int layer) {
  for (const bool index : {false, true})
    if (Table& t = table(layer, index); t.capacity > 0) fill_table(t, batch, layer, index);
}

void RunData::set_head(std::int64_t first, std::span<const LogitsRow> rows) {
  V4I_CHECK(static_cast<std::size_t>(first) + rows.size() <= head_tokens_);
  auto* row = host<std::int32_t>(head_at_) + first;
  for (const LogitsRow& r : rows) *row++ = static_cast<std::int32_t>(r.token);
}

float* RunData::embedding(std::int64_t token) {
  return embeddings_.as<float>() + token * config_.width;
}

void RunData::send(const Stream& stream, std::size_t begin, std::size_t end) {
  if (end > begin)
    stream.upload(device_bytes_.data() + begin, host_bytes_.host() + begin, end - begin);
}

void RunData::send_all(const Stream& stream) { send(stream, 0, end_); }
void RunData::send_tokens(const Stream& stream) {
  send(stream, 0, static_cast<std::size_t>(shape_.tokens) * sizeof(kc::Token));
  send(stream, sequences_at_,
       sequences_at_ + static_cast<std::size_t>(shape_.sequences) * sizeof(kc::Sequence));
}
void RunData::send_outputs(const Stream& stream) {
  send(stream, outputs_at_,
       outputs_at_ + static_cast<std::size_t>(shape_.tokens) * sizeof(kc::Token));
}
void RunData::send_head(const Stream& stream) { send(stream, head_at_, tables_at_); }
void RunData::send_blocks(const Stream& stream, int layer) {
  const Table &main = table(layer, false), &index = table(layer, true);
  if (main.capacity > 0) send(stream, main.at, index.capacity > 0 ? index.end : main.end);
}
void RunData::send_embeddings(const Stream& stream, float* to) {
  stream.upload(to, embeddings_.host(),
                static_cast<std::size_t>(shape_.tokens * config_.width) * sizeof(float));
}

kc::BlockTable RunData::blocks(int layer, bool index) const {
  const Table& t = tables_[static_cast<std::size_t>(layer) * 2 + (index ? 1 : 0)];
  kc::BlockTable b;
  if (t.capacity == 0) return b;
  b.block = at<std::uint8_t* const>(t.blocks_at);
  b.first = at<std::int32_t>(t.at);
  b.rows_per_block = layout_->rows_per_block;
  b.row_bytes = static_cast<std::int32_t>(
      layout_->row_bytes(layout_->layers[static_cast<std::size_t>(layer)], index));
  return b;
}

}  // namespace v4i::forward::cuda
