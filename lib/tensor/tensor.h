// DType and TensorView: what a tensor is, and where its bytes lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i {

enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  // fn: no infinities, 0x7f and 0xff are NaN
  kF8E8M0,  // 2^(byte - 127), 0xff is NaN
  kI8,      // in V4 checkpoints: two fp4 e2m1 codes, low nibble first
  kI32,
  kI64,
};

std::size_t dtype_bytes(DType t);
std::string_view dtype_name(DType t);                        // the safetensors spelling
bool dtype_from_name(std::string_view name, DType* out);  // false when unknown

// Row-major, not owned; the owner is the Checkpoint that the view came from.
struct TensorView {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;

  bool valid() const { return data != nullptr; }
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (auto d : shape) n *= d;
    return n;
  }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * dtype_bytes(dtype); }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
};

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[4096, 1024]"

}  // namespace v4i
