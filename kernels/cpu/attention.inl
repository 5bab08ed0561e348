// Attention of one query token in terms of F16, sixteen float32 lanes; see linear.inl.

// n e4m3 codes as float32, a ue8m0 scale for each kBlock of them; kBlock is a multiple of 16.
template <int kBlock>
inline void read_fp8(const std::uint8_t* code, const std::uint8_t* scale, int n, float* out) {
  int c = 0;
  for (; c + 16 <= n; c += 16) {
    if (plain_scale(scale[c / kBlock])) {
      store(out + c, mul(from_fp8(code + c), all(fp8_factor(scale[c / kBlock]))));
    } else {
      for (int i = c; i < c + 16; ++i)
        out[i] = decode_e4m3(code[i]) * code_scale(scale[i / kBlock]);
    }
  }
  for (; c < n; ++c) out[c] = decode_e4m3(code[c]) * code_scale(scale[c / kBlock]);
}

// V4's row: (dim - rope) e4m3 | rope bf16 | scales.
inline void read_v4_row(const RowShape& s, const std::uint8_t* row, float* out) {
  const int plain = s.dim - s.rope;
  read_fp8<64>(row, row + plain + 2 * s.rope, plain, out);
  const std::uint8_t* tail = row + plain;
  int i = 0;
  for (; i + 16 <= s.rope; i += 16) store(out + plain + i, from_bf16(tail + 2 * i));
  for (; i < s.rope; ++i) {
    std::uint16_t code;
    std::memcpy(&code, tail + 2 * i, sizeof code);
    out[plain + i] = decode_bf16(code);
  }
}

// e2m1 pairs | an e4m3 scale for each 16.
inline void read_fp4_row(int dim, const std::uint8_t* row, float* out) {
  const std::uint8_t* scale = row + (dim + 1) / 2;
  int c = 0;
  for (; c + 16 <= dim; c += 16)
    store(out + c, mul(from_fp4(row + c / 2), all(decode_e4m3(scale[c / 16]))));
  for (; c < dim; ++c)
    out[c] = decode_e2m1(row[c / 2] >> (c % 2 * 4) & 15u) * decode_e4m3(scale[c / 16]);
}

// Row i as float32.
inline void read_kv_row(const AttentionArgs& a, std::int64_t i, float* out) {
  const RowShape s = a.shape_of(i);
  const auto* row = static_cast<const std::uint8_t*>(a.row[i]);
  switch (s.form) {
    case RowForm::kFloat32:
      std::memcpy(out, row, sizeof(float) * static_cast<std::size_t>(s.dim));
      return;
    case RowForm::kFp8Rope16:
      return read_v4_row(s, row, out);
    case RowForm::kFp8:
      return read_fp8<32>(row, row + s.dim, s.dim, out);
    case RowForm::kFp4:
      return read_fp4_row(s.dim, row, out);
  }
}

// out += sum over rows of p row; each channel adds the rows in order.
inline void add_rows(const float* p, const float* row, int rows, int dim, float* out) {
  int c = 0;
  for (; c + 64 <= dim; c += 64) {
    F16 s0 = load(out + c), s1 = load(out + c + 16), s2 = load(out + c + 32),
        s3 = load(out + c + 48);
    for (int i = 0; i < rows; ++i) {
      const F16 v = all(p[i]);
      const float* r = row + i * dim + c;
      s0 = fma(v, load(r), s0);
      s1 = fma(v, load(r + 16), s1);
      s2 = fma(v, load(r + 32), s2);
      s3 = fma(v, load(r + 48), s3);
    }
    store(out + c, s0);
    store(out + c + 16, s1);
    store(out + c + 32, s2);
    store(out + c + 48, s3);
  }
  for (; c < dim; c += 16) {
    const int n = dim - c < 16 ? dim - c : 16;
    F16 s = load_first(out + c, n);
    for (int i = 0; i < rows; ++i) s = fma(all(p[i]), load_first(row + i * dim + c, n), s);
    store_first(out + c, n, s);
  }
}

// Logits of one head become p; returns 1 / (sum of p and the sink).
inline float softmax_with_sink(float* logit, std::int64_t rows, float sink, bool round) {
  float top = logit[0];
  for (std::int64_t i = 1; i < rows; ++i) top = logit[i] > top ? logit[i] : top;
  F16 sum = zero();
  const F16 shift = all(top);
  for (std::int64_t i = 0; i < rows; i += 16) {
    const int n = rows - i < 16 ? static_cast<int>(rows - i) : 16;
    alignas(64) float lane[16];
    store(lane, exp_negative(sub(load_first(logit + i, n), shift)));
    const F16 p = load_first(lane, n);
    sum = add(sum, p);
    store_first(logit + i, n, round ? rounded_bf16(p) : p);
  }
  const float of_sink = sink > top ? 0.0f : exp_negative(sink - top);
  if (sink > top) {  // exp(sink - top) may be huge: the scalar way
    const double total = static_cast<double>(fold(sum)) + __builtin_exp(double(sink) - top);
    return static_cast<float>(1.0 / total);
  }
  return 1.0f / (fold(sum) + of_sink);
}

inline void finish_head(float* out, int dim, float inverse, bool round) {
  for (int c = 0; c < dim; ++c) {
    const float o = out[c] * inverse;
    out[c] = round ? round_bf16(o) : o;
  }
}

constexpr int kTileRows = 8;  // 16 KB of 512 channels: they stay in the first-level cache

void attention(const AttentionArgs& a) {
  const int dim = a.shape.dim;
  float* key = a.scratch;  // [kTileRows, dim], shared by all heads of the call
  float* logits = a.scratch + kTileRows * dim;
  const std::int64_t stride = a.rows + 16;
  for (std::int64_t i0 = 0; i0 < a.rows; i0 += kTileRows) {
    const int n = a.rows - i0 < kTileRows ? static_cast<int>(a.rows - i0) : kTileRows;
    for (int i = 0; i < n; ++i) read_kv_row(a, i0 + i, key + i * dim);
    for (std::int64_t h = a.head_begin; h < a.head_end; ++h) {
      float* logit = logits + (h - a.head_begin) * stride + i0;
      dots(key, dim, n, a.q + h * dim, dim, logit);
      for (int i = 0; i < n; ++i) logit[i] *= a.scale;
    }
  }
  for (std::int64_t h = a.head_begin; h < a.head_end; ++h) {
    float* logit = logits + (h - a.head_begin) * stride;
    // The inverse is kept behind the logits: stride has room for it.
    logit[a.rows] = softmax_with_sink(logit, a.rows, a.sink[h], a.round_bf16);
    std::memset(a.out + h * dim, 0, sizeof(float) * static_cast<std::size_t>(dim));
  }
  for (std::int64_t i0 = 0; i0 < a.rows; i0 += kTileRows) {
    const int n = a.rows - i0 < kTileRows ? static_cast<int>(a.rows - i0) : kTileRows;
    for (int i = 0; i < n; ++i) read_kv_row(a, i0 + i, key + i * dim);
    for (std::int64_t h = a.head_begin; h < a.head_end; ++h)
      add_rows(logits + (h - a.head_begin) * stride + i0, key, n, dim, a.out + h * dim);
  }
  for (std::int64_t h = a.head_begin; h < a.head_end; ++h)
    finish_head(a.out + h * dim, dim, logits[(h - a.head_begin) * stride + a.rows], a.round_bf16);
}
