// What the experts found for each token, before it is added up.
#pragma once

#include <cstdint>

namespace v4i::kernels::cuda {

// The output of a layer's experts is, from zero and in this order,
//   sum over i of found[token_slot[t, i]], then + more[t], then + shared[t];  rounded when native.
struct Found {
  const float* found = nullptr;              // [slots, width], of v4i_experts_down
  const std::int32_t* token_slot = nullptr;  // [n, choices], of v4i_group; -1: not on the device
  const float* more = nullptr;               // [n, width], of the CPU's experts; or null
  const float* shared = nullptr;             // [n, width], of the shared expert; or null
  std::int32_t choices = 0;                  // of a token
};

}  // namespace v4i::kernels::cuda
