// Rows of W: their codes and scales, and whole rows as float32 in scratch.  For linear.inl, inside
// the anonymous namespace of an instruction-set file.

// A row of W.
struct RowReader {
  const Weight* w;
  const std::uint8_t* data;
  const std::uint8_t* scale;  // of this row, one per block_cols columns
};

inline RowReader row_reader(const Weight& w, std::int64_t r) {
  const auto* data = static_cast<const std::uint8_t*>(w.data);
  const std::int64_t scale_cols = w.block_cols > 0 ? (w.cols + w.block_cols - 1) / w.block_cols : 0;
  switch (w.format) {
    case Format::kF32:
      return {&w, data + 4 * r * w.cols, nullptr};
    case Format::kBF16:
      return {&w, data + 2 * r * w.cols, nullptr};
    case Format::kFp8:
      return {&w, data + r * w.cols, w.scale + r / w.block_rows * scale_cols};
    case Format::kFp4:
      return {&w, data + r * (w.cols / 2), w.scale + r * scale_cols};
  }
  return {&w, data, nullptr};
}

// Any format, any column, one value: for the last columns and odd scales.
inline float read_one(const RowReader& r, std::int64_t k) {
  const Weight& w = *r.w;
  switch (w.format) {
    case Format::kF32: {
      float v;
      std::memcpy(&v, r.data + 4 * k, sizeof v);
      return v;
    }
    case Format::kBF16: {
      std::uint16_t code;
      std::memcpy(&code, r.data + 2 * k, sizeof code);
      return decode_bf16(code);
    }
    case Format::kFp8:
      return static_cast<float>(decode_e4m3(r.data[k]) * decode_ue8m0(r.scale[k / w.block_cols]));
    case Format::kFp4:
      return static_cast<float>(decode_e2m1(r.data[k / 2] >> (k % 2 * 4) & 15u) *
                                decode_ue8m0(r.scale[k / w.block_cols]));
  }
  return 0;
}

inline F16 read_slowly(const RowReader& r, std::int64_t k, int n) {
  alignas(64) float v[16] = {};
  for (int i = 0; i < n; ++i) v[i] = read_one(r, k + i);
  return load(v);
}

// Columns [k, k + 16) before scaling; k is a multiple of 16.
template <Format kFormat>
inline F16 codes16(const std::uint8_t* data, std::int64_t k) {
  if constexpr (kFormat == Format::kF32) return load(reinterpret_cast<const float*>(data) + k);
  if constexpr (kFormat == Format::kBF16) return from_bf16(data + 2 * k);
  if constexpr (kFormat == Format::kFp8) return from_fp8(data + k);
  if constexpr (kFormat == Format::kFp4) return from_fp4(data + k / 2);
}

template <Format kFormat>
constexpr bool kScaled = kFormat == Format::kFp8 || kFormat == Format::kFp4;

// Scale blocks are multiples of 16 columns: the last column of k's block, or of W.
template <Format kFormat>
inline std::int64_t block_end(const Weight& w, std::int64_t k, std::int64_t whole) {
  if constexpr (!kScaled<kFormat>) return whole;
  return k + w.block_cols < whole ? k + w.block_cols : whole;
}

// What codes16 must be multiplied by in a block with this scale: 2^(code - 127).
template <Format kFormat>
inline float code_factor(std::uint8_t code) {
  return kFormat == Format::kFp8 ? fp8_factor(code) : power_of_two(code - 127);
}

// Columns [k, end) of a block of scales, as float32.
template <Format kFormat>
inline void block_to_floats(const std::uint8_t* data, float factor, std::int64_t k,
                            std::int64_t end, float* out) {
  const F16 f = all(factor);
  for (; k < end; k += 16) store(out + k, mul(codes16<kFormat>(data, k), f));
}

// `blocks` blocks of kCols columns: a loop of known length is none (bench/ab, v41_wq_a_4: 15 %).
template <Format kFormat, int kCols>
inline void blocks_to_floats(const std::uint8_t* data, const float* factor, std::int64_t blocks,
                             std::int64_t k, float* out) {
  for (std::int64_t b = 0; b < blocks; ++b)
    for (int i = 0; i < kCols; i += 16, k += 16)
      store(out + k, mul(codes16<kFormat>(data, k), all(factor[b])));
}

// The factors of `count` scales; false: one of them is not plain.
template <Format kFormat>
inline bool make_factors(const std::uint8_t* scale, std::int64_t count, float* factor) {
  std::uint8_t odd = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    odd = static_cast<std::uint8_t>(odd | !plain_scale(scale[i]));
    factor[i] = code_factor<kFormat>(plain_scale(scale[i]) ? scale[i] : 127);
  }
  return odd == 0;
}

// A row under scales, whose factors are made some at a time: vectors of them, not one by one.
template <Format kFormat>
inline void scaled_to_floats(const RowReader& row, std::int64_t whole, float* out) {
  constexpr std::int64_t kFactors = 64;
  const std::int64_t cols = row.w->block_cols, blocks = (whole + cols - 1) / cols;
  for (std::int64_t first = 0; first < blocks; first += kFactors) {
    float factor[kFactors];
    const std::int64_t last = first + kFactors < blocks ? first + kFactors : blocks;
    const bool plain = make_factors<kFormat>(row.scale + first, last - first, factor);
    if (plain && cols == 32 && last * cols <= whole) {
      blocks_to_floats<kFormat, 32>(row.data, factor, last - first, first * cols, out);
      continue;
    }
    for (std::int64_t b = first, k = first * cols; b < last; ++b, k += cols) {
      const std::int64_t end = k + cols < whole ? k + cols : whole;
      if (plain || plain_scale(row.scale[b]))
        block_to_floats<kFormat>(row.data, factor[b - first], k, end, out);
      else
        for (std::int64_t c = k; c < end; c += 16) store(out + c, read_slowly(row, c, 16));
    }
  }
}

template <Format kFormat>
inline void row_to_floats(const RowReader& row, std::int64_t whole, float* out) {
  if constexpr (kScaled<kFormat>) return scaled_to_floats<kFormat>(row, whole, out);
  for (std::int64_t k = 0; k < whole; k += 16) store(out + k, codes16<kFormat>(row.data, k));
}

// Rows [r0, r0 + count) as float32 in scratch, zeros after the last column.
template <Format kFormat>
inline void rows_to_scratch(const LinearArgs& a, std::int64_t r0, std::int64_t count) {
  const std::int64_t cols = a.w.cols, whole = cols / 16 * 16, stride = (cols + 15) / 16 * 16;
  for (std::int64_t i = 0; i < count; ++i) {
    const RowReader row = row_reader(a.w, r0 + i);
    float* out = a.scratch + i * stride;
    row_to_floats<kFormat>(row, whole, out);
    if (whole < cols) store(out + whole, read_slowly(row, whole, static_cast<int>(cols - whole)));
  }
}
