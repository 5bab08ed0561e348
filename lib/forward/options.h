// How a model is computed: numerics, and how much of it at once.
#pragma once

namespace v4i::forward {

// kExact:  float32 activations, no activation quantisation (compared with the
//          oracle at 1e-4).
// kNative: as trained: activations rounded to bf16 between modules and to fp8/fp4
//          where the reference does, packed KV rows.
// kFast:   native, but the products with fp8 and fp4 weights are made of int8
//          (kernels/linear.h): inputs and weights of a row, 1,024 columns to a scale.
enum class Numerics { kExact, kNative, kFast };

struct Options {
  Numerics numerics = Numerics::kNative;
  int max_tokens = 512;     // of one run(), all items together
  int rows_per_block = 64;  // KV rows of a block
};

}  // namespace v4i::forward
