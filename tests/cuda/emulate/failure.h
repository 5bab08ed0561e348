// What a launch throws.
#pragma once

#include <stdexcept>

namespace v4i::emulate {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace v4i::emulate
