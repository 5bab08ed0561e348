// The tensor names of the image tower; see vision.h.
#include "lib/model/vision.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/model/binder.h"

namespace v4i::model {

namespace {

VisionLinear linear(Binder& b, const std::string& base, std::int64_t rows, std::int64_t cols) {
  VisionLinear out;
  out.w = b.plain(base + ".weight", rows, cols);
  if (b.has(base + ".bias")) out.bias = b.vector(base + ".bias", {rows});
  return out;
}

VisionBlock block(Binder& b, const std::string& p, const VisionConfig& v) {
  VisionBlock out;
  out.norm1 = b.vector(p + "norm1.weight", {v.width});
  out.norm2 = b.vector(p + "norm2.weight", {v.width});
  out.wqkv = linear(b, p + "attn.wqkv", 3 * v.width, v.width);
  out.wo = linear(b, p + "attn.wo", v.width, v.width);
  out.w1 = linear(b, p + "ffn.w1", 2 * v.mlp_width, v.width);
  out.w2 = linear(b, p + "ffn.w2", v.width, v.mlp_width);
  return out;
}

}  // namespace

VisionWeights bind_vision(Binder& b, const Config& config) {
  const VisionConfig& v = config.vision;
  VisionWeights out;
  if (v.layers == 0) return out;
  // A quarter of a head's channels turns with the row of a patch, a quarter with its column.
  if (v.width / v.heads % 4 != 0)
    fail(Code::kUnsupported,
         "{}: the image tower is {} wide with {} heads of {} channels, expected a multiple of 4",
         b.folder(), v.width, v.heads, v.width / v.heads);
  out.patch = linear(b, "vision.patch_embed.proj", v.width, 3 * v.patch * v.patch);
  for (std::int64_t i = 0; i < v.layers; ++i)
    out.layers.push_back(block(b, fmt::format("vision.blocks.{}.", i), v));
  const std::string next = fmt::format("vision.blocks.{}.", v.layers);
  if (b.has_prefix(next))
    fail(Code::kFormat,
         "{}: tensors of {}* exist, but the image tower in config.json has {} blocks", b.folder(),
         next, v.layers);
  out.norm = b.vector("vision.norm.weight", {v.width});
  out.align1 = linear(b, "aligner.w1", config.width, v.width * v.downsample * v.downsample);
  out.align2 = linear(b, "aligner.w2", config.width, config.width);
  out.start = b.vector("image_start", {config.width});
  out.newline = b.vector("image_newline", {config.width});
  out.end = b.vector("image_end", {config.width});
  return out;
}

}  // namespace v4i::model
