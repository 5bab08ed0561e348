// Data types and shapes; see tensor.h.
#include "lib/tensor/tensor.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace v4i {

namespace {

struct Entry {
  DType type;
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array<Entry, 8> kTypes = {{{DType::kF32, "F32", 4},
                                          {DType::kF16, "F16", 2},
                                          {DType::kBF16, "BF16", 2},
                                          {DType::kF8E4M3, "F8_E4M3", 1},
                                          {DType::kF8E8M0, "F8_E8M0", 1},
                                          {DType::kI8, "I8", 1},
                                          {DType::kI32, "I32", 4},
                                          {DType::kI64, "I64", 8}}};

const Entry& entry(DType t) { return kTypes[static_cast<std::size_t>(t)]; }

}  // namespace

std::size_t dtype_bytes(DType t) { return entry(t).bytes; }

std::string_view dtype_name(DType t) { return entry(t).name; }

bool dtype_from_name(std::string_view name, DType* out) {
  for (const Entry& e : kTypes) {
    if (e.name != name) continue;
    *out = e.type;
    return true;
  }
  return false;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::int64_t d : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(d);
  return text + "]";
}

}  // namespace v4i
