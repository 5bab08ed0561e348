// Compressed rows: every `ratio` tokens become one KV row and, in CSA layers, one index key, by a
// softmax over their gates, channel by channel.  Spec 2.5; the definition is
// lib/forward/cpu/compressor.cc.
//
// Order of a layer's launches: the products that fill `partial`, launch_add_ape, launch_compress,
// and only then the copy of staged rows into the rings of `written` (keep_rows).
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

// One of a layer's compressors.  Of a token's staged floats it owns, from `slot` on, width values
// and then width gates: width is dim, or twice that with overlap.
struct CompressorPart {
  const float* ape = nullptr;   // [ratio, width]
  const float* gain = nullptr;  // [dim], of the norm
  std::int32_t dim = 0;         // of a row
  std::int32_t slot = 0;
  BlockTable rows;  // where finished rows go
};

struct CompressorArgs {
  CompressorPart part[2];  // of KV rows, and of index keys in layers with an indexer
  std::int32_t parts = 0;
  std::int32_t tokens = 0;
  const Token* token = nullptr;        // [tokens]
  const Sequence* sequence = nullptr;  // of the run
  float* partial = nullptr;            // [tokens of the run, floats], staged; row: Token::row
  std::int32_t floats = 0;             // of a token, all parts: LayerLayout::partial_floats()
  std::int32_t partial_slots = 0;      // tokens in a sequence's ring
  std::int64_t partial_offset = 0;     // bytes of Sequence::fixed before this layer's ring
  const float* frequency = nullptr;    // [rope / 2], rotary, of the layer
  float eps = 0;                       // of the norm
  std::int32_t rope = 0;               // rotary channels, the last of a row
  std::int32_t ratio = 0;              // at most kMaxCompressRatio
  std::int32_t overlap = 0;            // CSA: the block before joins
  std::int32_t native = 0;             // rows packed (pack_row, pack_key); else float32
};

constexpr int kMaxCompressRatio = 128;
constexpr unsigned kApeThreads = 256;
constexpr unsigned kCompressThreads = 512;

// partial[row, gates] += ape[position % ratio], of every token and part.
inline Launch launch_add_ape(const CompressorArgs& a) {
  return {a.tokens > 0 && a.parts > 0 ? "v4i_add_ape" : nullptr,
          static_cast<std::uint32_t>(a.tokens),
          1,
          1,
          kApeThreads,
          0};
}

// The rows that the tokens complete, into part[i].rows.
inline Launch launch_compress(const CompressorArgs& a) {
  std::size_t dim = 0;
  for (int i = 0; i < a.parts; ++i)
    dim = dim < static_cast<std::size_t>(a.part[i].dim) ? static_cast<std::size_t>(a.part[i].dim)
                                                        : dim;
  const std::size_t candidates = static_cast<std::size_t>(a.ratio) * (a.overlap != 0 ? 2 : 1);
  return {a.tokens > 0 && a.parts > 0 ? "v4i_compress" : nullptr,
          static_cast<std::uint32_t>(a.tokens),
          static_cast<std::uint32_t>(a.parts),
          1,
          kCompressThreads,
          candidates * sizeof(const float*) + dim * sizeof(float)};
}

}  // namespace v4i::kernels::cuda
