// Activations as bf16 words, for the kernels of avx512bf16_linear.cc.
//
// Tokens are packed in tiles; within one block after block, a token after the other, columns in the
// order of bf16_codes.inl: [tiles][blocks][tokens of the tile][kBlock].

// Of up to three tokens; four to six of them meet fp8 rows in pairs (bf16_gemv.inl).
inline Groups tiles_of(Kind k, std::int64_t tokens) {
  return {tokens, is_fp8(k) && tokens <= 6 ? 6 : kTile};
}

// A row of x, a block every `step` words.
template <Kind kKind>
inline void pack_x(const float* x, std::int64_t cols, std::uint16_t* out, std::int64_t step) {
  for (std::int64_t k = 0; k < cols; k += kBlock, out += step) {
    Words w = natural(x + k);
    if constexpr (kKind == Kind::kFp8) w = halves(w);
    if constexpr (kKind == Kind::kFp8By32) w = quarters(w);
    if constexpr (kKind == Kind::kFp4) w = nibbles(w);
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, w.v[j]);
  }
}

// Tiles [begin, end).
template <Kind kKind>
inline void pack_tiles(const LinearArgs& a, std::int64_t begin, std::int64_t end,
                       std::uint16_t* out) {
  const Groups tiles = tiles_of(kKind, a.tokens);
  for (std::int64_t g = begin; g < end; ++g)
    for (std::int64_t i = 0, t = tiles.begin(g), n = tiles.size(g); i < n; ++i)
      pack_x<kKind>(token_row(a, t + i), a.w.cols, out + t * a.w.cols + i * kBlock, n * kBlock);
}

// The tokens of a call, packed into `scratch` if nobody has done so.
template <Kind kKind>
inline const std::uint16_t* packed(const LinearArgs& a, void* scratch) {
  if (a.prepared != nullptr) return static_cast<const std::uint16_t*>(a.prepared);
  auto* x = static_cast<std::uint16_t*>(scratch);
  pack_tiles<kKind>(a, 0, tiles_of(kKind, a.tokens).count, x);
  return x;
}
