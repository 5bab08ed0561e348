// Checkpoint to device; see upload.h.
#include "lib/forward/cuda/upload.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"

namespace v4i::forward::cuda {

namespace {

using kernels::cuda::Matrix;

constexpr const char* kWhat = "weights on the device";

std::size_t row_bytes_in_file(const Weight& w) {
  return w.data_bytes() / static_cast<std::size_t>(w.rows);
}

std::size_t row_bytes_on_device(const Weight& w) {
  return static_cast<std::size_t>(kernels::cuda::matrix_row_bytes(w.format, w.cols));
}

std::size_t rows_bytes(const Weight& w) {
  return row_bytes_on_device(w) * static_cast<std::size_t>(w.rows);
}

}  // namespace

Upload::Upload(std::shared_ptr<Device> device, const Stream& stream, Budget& budget)
    : device_(std::move(device)),
      stream_(stream),
      budget_(budget),
      pinned_(device_, budget, Use::kScratch, 2 * kHalf, "the buffer of uploads"),
      sent_{Event(device_), Event(device_)} {}

std::uint8_t* Upload::half() {
  if (waiting_[next_]) sent_[next_].wait();
  waiting_[next_] = false;
  return pinned_.host() + static_cast<std::size_t>(next_) * kHalf;
}

// The half that was last asked for goes to the device.
void Upload::send(std::uint8_t* to, std::size_t n) {
  stream_.upload(to, pinned_.host() + static_cast<std::size_t>(next_) * kHalf, n);
  stream_.record(sent_[next_]);
  waiting_[next_] = true;
  next_ ^= 1;
}

void Upload::bytes(std::uint8_t* to, const void* from, std::size_t n) {
  const auto* p = static_cast<const std::uint8_t*>(from);
  for (std::size_t at = 0; at < n; at += kHalf) {
    const std::size_t piece = std::min(kHalf, n - at);
    std::memcpy(half(), p + at, piece);
    send(to + at, piece);
  }
}

std::size_t Upload::matrix_bytes(const Weight& w) { return rows_bytes(w) + w.scale_bytes(); }

Matrix Upload::matrix_at(const Weight& w, std::uint8_t* to) {
  Matrix m = kernels::cuda::matrix_shape(w);
  m.data = to;
  if (w.scale != nullptr) {
    m.scale = to + rows_bytes(w);
    bytes(to + rows_bytes(w), w.scale, w.scale_bytes());
  }
  const std::size_t have = row_bytes_in_file(w), want = row_bytes_on_device(w);
  if (have == want) {
    bytes(to, w.data, rows_bytes(w));
    return m;
  }
  const auto* from = static_cast<const std::uint8_t*>(w.data);
  const std::size_t step = std::max<std::size_t>(1, kHalf / want);
  const auto rows = static_cast<std::size_t>(w.rows);
  V4I_CHECK(want <= kHalf);
  for (std::size_t r = 0; r < rows; r += step) {
    const std::size_t n = std::min(step, rows - r);
    std::uint8_t* out = half();
    std::memset(out, 0, n * want);
    for (std::size_t i = 0; i < n; ++i) std::memcpy(out + i * want, from + (r + i) * have, have);
    send(to + r * want, n * want);
  }
  return m;
}

Matrix Upload::matrix(const Weight& w, std::vector<DeviceBuffer>* owners) {
  if (!w.present()) return {};
  owners->emplace_back(device_, budget_, Use::kWeights, matrix_bytes(w), kWhat);
  return matrix_at(w, owners->back().data());
}

const float* Upload::vector(std::span<const float> x, std::vector<DeviceBuffer>* owners) {
  if (x.empty()) return nullptr;
  owners->emplace_back(device_, budget_, Use::kWeights, x.size_bytes(), kWhat);
  bytes(owners->back().data(), x.data(), x.size_bytes());
  return owners->back().as<const float>();
}

const std::int32_t* Upload::vector(std::span<const std::int32_t> x,
                                   std::vector<DeviceBuffer>* owners) {
  if (x.empty()) return nullptr;
  owners->emplace_back(device_, budget_, Use::kWeights, x.size_bytes(), kWhat);
  bytes(owners->back().data(), x.data(), x.size_bytes());
  return owners->back().as<const std::int32_t>();
}

void Upload::finish() {
  stream_.wait();
  pinned_.reset();
}

}  // namespace v4i::forward::cuda
