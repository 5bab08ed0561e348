// See kernel_choice.h.
#include "lib/forward/kernel_choice.h"

#include <algorithm>

#include "kernels/kernels.h"
#include "lib/base/error.h"

namespace v4i::forward {

const kernels::KernelTable& choose_kernels(const std::string& name) {
  const auto* found = kernels::select_kernels(name.empty() ? nullptr : name.c_str());
  if (found != nullptr) return *found;
  constexpr int kMost = 16;
  const kernels::KernelTable* tables[kMost];
  const int n = std::min(kernels::available_kernels(tables, kMost), kMost);
  std::string names;
  for (int i = 0; i < n; ++i) names += fmt::format("{}{}", i == 0 ? "" : ", ", tables[i]->name);
  fail(Code::kUnsupported, "kernels \"{}\" do not run here; this build and processor have: {}",
       name, names);
}

const char* kernels_name(const kernels::KernelTable& kernels) { return kernels.name; }

}  // namespace v4i::forward
