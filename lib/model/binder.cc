// Compares tensors with what the Config asks for; see binder.h.
#include "lib/model/binder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/loader/names.h"

namespace v4i::model {

namespace {

using loader::printable;
using loader::TensorInfo;

constexpr int kFp4Block = 32;    // inputs per scale
constexpr int kTableBlock = 32;  // columns of a row of an n-gram table, per scale
constexpr std::uint8_t kScaleNan = 0xff;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <class T>
T read_at(const std::byte* p, std::size_t i) {
  T v;
  std::memcpy(&v, p + i * sizeof(T), sizeof(T));  // tensors need not be aligned
  return v;
}

float half_to_float(std::uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const float sign = (h & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * HUGE_VALF;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa | 1024), exponent - 25);
}

float element(DType t, const std::byte* p, std::size_t i) {
  if (t == DType::kF32) return read_at<float>(p, i);
  const auto bits = read_at<std::uint16_t>(p, i);
  if (t == DType::kF16) return half_to_float(bits);
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::string_view dtype_of(WeightFormat f) {
  switch (f) {
    case WeightFormat::kF32:
      return "F32";
    case WeightFormat::kBF16:
      return "BF16";
    case WeightFormat::kFp8:
      return "F8_E4M3";
    case WeightFormat::kFp4:
      return "I8";
  }
  return "?";
}

}  // namespace

Binder::Binder(const loader::Checkpoint& checkpoint, std::int64_t fp8_block)
    : checkpoint_(checkpoint), fp8_block_(fp8_block), taken_(checkpoint.tensors().size()) {}

bool Binder::has_prefix(std::string_view prefix) const {
  const auto& all = checkpoint_.tensors();
  const auto it =
      std::lower_bound(all.begin(), all.end(), prefix,
                       [](const TensorInfo& t, std::string_view p) { return t.name < p; });
  return it != all.end() && it->name.starts_with(prefix);
}

// `dtypes` is a list such as "BF16 or F32": what is accepted, and what is printed.
const TensorInfo& Binder::take(const std::string& name, std::string_view dtypes,
                               const std::vector<std::int64_t>& shape) {
  const std::int32_t i = checkpoint_.find(name);
  if (i < 0)
    fail(Code::kFormat, "{}: tensor {} is missing, expected {} {}", checkpoint_.folder(), name,
         dtypes, shape_text(shape));
  const TensorInfo& t = checkpoint_.tensors()[static_cast<std::size_t>(i)];
  bool fits = false;
  for (std::string_view rest = dtypes;;) {
    const std::size_t space = rest.find(' ');
    fits = fits || rest.substr(0, space) == dtype_name(t.dtype);
    if (space == std::string_view::npos) break;
    rest.remove_prefix(space + 1);
  }
  expect(t, fits, dtypes, shape);
  taken_[static_cast<std::size_t>(i)] = true;
  return t;
}

void Binder::expect(const TensorInfo& t, bool dtype_fits, std::string_view dtypes,
                    const std::vector<std::int64_t>& shape) const {
  if (dtype_fits && t.shape == shape) return;
  const bool half = t.dtype == DType::kF16 && t.shape == shape;
  fail(half ? Code::kUnsupported : Code::kFormat, "{}: tensor {} is {} {}, expected {} {}",
       checkpoint_.shard_path(t), t.name, dtype_name(t.dtype), shape_text(t.shape), dtypes,
       shape_text(shape));
}

Vector Binder::vector(const std::string& name, const std::vector<std::int64_t>& shape) {
  const TensorInfo& t = take(name, "F32 or BF16 or F16", shape);
  const TensorView view = checkpoint_.view(t);
  Vector out(static_cast<std::size_t>(view.elements()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = element(t.dtype, view.data, i);
    if (!std::isfinite(out[i]))
      fail(Code::kFormat, "{}: tensor {}: element {} is {}, expected a finite number",
           checkpoint_.shard_path(t), name, i, out[i]);
  }
  return out;
}

std::vector<std::int32_t> Binder::indices(const std::string& name, std::int64_t rows,
                                          std::int64_t cols, std::int64_t limit) {
  const TensorInfo& t = take(name, "I64 or I32", {rows, cols});
  const std::byte* data = checkpoint_.view(t).data;
  std::vector<std::int32_t> out(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t v =
        t.dtype == DType::kI64 ? read_at<std::int64_t>(data, i) : read_at<std::int32_t>(data, i);
    if (v < 0 || v >= limit)
      fail(Code::kFormat, "{}: tensor {}: token {}, entry {} is expert {}, expected 0 to {}",
           checkpoint_.shard_path(t), name, static_cast<std::int64_t>(i) / cols,
           static_cast<std::int64_t>(i) % cols, v, limit - 1);
    out[i] = static_cast<std::int32_t>(v);
  }
  return out;
}

Weight Binder::plain(const std::string& name, std::int64_t rows, std::int64_t cols) {
  const TensorInfo& t = take(name, "BF16 or F32", {rows, cols});
  Weight out;
  out.format = t.dtype == DType::kF32 ? WeightFormat::kF32 : WeightFormat::kBF16;
  out.rows = rows;
  out.cols = cols;
  out.data = checkpoint_.view(t).data;
  out.tensor = checkpoint_.find(name);
  return out;
}

const std::uint8_t* Binder::scales(const std::string& name, std::int64_t rows, std::int64_t cols) {
  return checkpoint_.view(take(name, "F8_E8M0", {rows, cols})).as<std::uint8_t>();
}

Weight Binder::quantised(const std::string& base, std::int64_t rows, std::int64_t cols,
                         WeightFormat format, int block_rows, int block_cols) {
  const bool fp4 = format == WeightFormat::kFp4;
  if (fp4 && cols % kFp4Block != 0)
    fail(Code::kFormat, "{}: tensor {}.weight is fp4 with {} inputs, expected a multiple of {}",
         checkpoint_.folder(), base, cols, kFp4Block);
  const std::string name = base + ".weight";
  Weight out;
  out.format = format;
  out.rows = rows;
  out.cols = cols;
  out.block_rows = block_rows;
  out.block_cols = block_cols;
  out.data = checkpoint_.view(take(name, dtype_of(format), {rows, fp4 ? cols / 2 : cols})).data;
  out.scale =
      scales(base + ".scale", ceil_div(rows, out.block_rows), ceil_div(cols, out.block_cols));
  out.tensor = checkpoint_.find(name);
  return out;
}

Weight Binder::fp8(const std::string& base, std::int64_t rows, std::int64_t cols) {
  const int block = static_cast<int>(fp8_block_);
  return quantised(base, rows, cols, WeightFormat::kFp8, block, block);
}

Weight Binder::table(const std::string& base, std::int64_t rows, std::int64_t cols) {
  return quantised(base, rows, cols, WeightFormat::kFp8, 1, kTableBlock);
}

Weight Binder::dense(const std::string& base, std::int64_t rows, std::int64_t cols) {
  const std::string name = base + ".weight";
  const std::int32_t i = checkpoint_.find(name);
  if (i < 0) take(name, "F8_E4M3", {rows, cols});  // always fails: the tensor is missing
  const TensorInfo& t = checkpoint_.tensors()[static_cast<std::size_t>(i)];
  if (t.dtype != DType::kF8E4M3) {
    expect(t, t.dtype == DType::kBF16 || t.dtype == DType::kF32, "F8_E4M3, BF16 or F32",
           {rows, cols});
    return plain(name, rows, cols);
  }
  const Weight out = fp8(base, rows, cols);
  const void* bad = std::memchr(out.scale, kScaleNan, out.scale_bytes());
  if (bad != nullptr)
    fail(Code::kFormat, "{}: tensor {}.scale: element {} is 0xff, which is NaN",
         checkpoint_.shard_path(t), base, static_cast<const std::uint8_t*>(bad) - out.scale);
  return out;
}

WeightFormat Binder::expert_format(const std::string& first, ExpertDType configured) const {
  const std::int32_t i = checkpoint_.find(first);
  if (i < 0)
    fail(Code::kFormat, "{}: tensor {} is missing, expected I8 (fp4) or F8_E4M3",
         checkpoint_.folder(), first);
  const TensorInfo& t = checkpoint_.tensors()[static_cast<std::size_t>(i)];
  WeightFormat found = WeightFormat::kBF16;
  switch (t.dtype) {
    case DType::kI8:
      found = WeightFormat::kFp4;
      break;
    case DType::kF8E4M3:
      found = WeightFormat::kFp8;
      break;
    case DType::kBF16:
      break;
    case DType::kF32:
      found = WeightFormat::kF32;
      break;
    default:
      fail(Code::kUnsupported, "{}: tensor {} is {}, expected I8 (fp4), F8_E4M3, BF16 or F32",
           checkpoint_.shard_path(t), first, dtype_name(t.dtype));
  }
  const bool agrees =
      configured == ExpertDType::kFromTensors ||
      found == (configured == ExpertDType::kFp4 ? WeightFormat::kFp4 : WeightFormat::kFp8);
  if (!agrees)
    fail(Code::kFormat, "{}: tensor {} is {}, but expert_dtype in config.json says {}",
         checkpoint_.shard_path(t), first, dtype_name(t.dtype),
         configured == ExpertDType::kFp4 ? "fp4 (I8)" : "fp8 (F8_E4M3)");
  return found;
}

Weight Binder::expert(const std::string& base, std::int64_t rows, std::int64_t cols,
                      WeightFormat format) {
  if (format == WeightFormat::kFp4) return quantised(base, rows, cols, format, 1, kFp4Block);
  if (format == WeightFormat::kFp8) return fp8(base, rows, cols);
  const std::string name = base + ".weight";
  take(name, dtype_of(format), {rows, cols});
  return plain(name, rows, cols);
}

void Binder::finish() const {
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i]) continue;
    const TensorInfo& t = checkpoint_.tensors()[i];
    const std::string_view n = t.name;
    const bool ours = n.starts_with("layers.") || n.starts_with("mtp.") || n.starts_with("norm.") ||
                      n.starts_with("hc_head_");
    // Draft modules share the backbone's embedding and head; the official converter
    // skips private copies, and so do we.
    const bool skipped = n.starts_with("mtp.") &&
                         (n.find(".emb") != std::string_view::npos || n.ends_with(".head.weight"));
    if (ours && !skipped)
      fail(Code::kFormat,
           "{}: tensor {} {} {} has no place in the model that config.json describes",
           checkpoint_.shard_path(t), printable(n), dtype_name(t.dtype), shape_text(t.shape));
  }
}

}  // namespace v4i::model
