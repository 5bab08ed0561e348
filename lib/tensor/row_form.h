// RowForm: how a KV row of `dim` channels, the last `rope` of them rotary, is stored.
//
// The one type for it: lib/model's plan chooses it, lib/kv keeps the bytes, kernels read and write
// them.
#pragma once

namespace v4i {

enum class RowForm {
  kFloat32,    // dim float32
  kFp8Rope16,  // V4: (dim - rope) e4m3 | rope bf16 | ceil((dim - rope) / 64) ue8m0; in lib/kv
               // padded to a multiple of 8 (512, 64: 584 bytes)
  kFp8,  // V4.1, window: dim e4m3 | ceil(dim / 32) ue8m0 (512: 528 bytes)
  kFp4,  // V4.1, main: dim / 2 e2m1 pairs, low nibble first | ceil(dim / 16) e4m3 scales
         // (512: 288 bytes)
};

}  // namespace v4i
