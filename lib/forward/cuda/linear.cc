// Products and norms of a pass; see pass.h.
#include "kernels/cuda/norm.h"
#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

kc::Product product(const Matrix& w, const float* x, float* y, bool round) {
  kc::Product p;
  p.w = w;
  p.x = x;
  p.x_stride = w.cols;
  p.y = y;
  p.y_stride = w.rows;
  p.round = round ? 1 : 0;
  return p;
}

void multiply(const Pass& p, std::span<const kc::Product> products, std::int32_t tokens) {
  for (const bool wants_float : {false, true}) {
    kc::ProductsArgs a;
    a.tokens = tokens > 0 ? tokens : p.n();
    a.native = p.native;
    const auto flush = [&] {
      if (a.products == 0) return;
      const kc::Launch l = kc::launch_products(a);
      p.launch(l, a);
      a.products = 0;
    };
    for (const kc::Product& q : products) {
      if (kc::needs_float(q.w, p.native) != wants_float) continue;
      kc::Product& to = a.product[a.products++] = q;
      to.round = q.round != 0 && p.native ? 1 : 0;
      if (a.products == kc::kMostProducts) flush();
    }
    flush();
  }
}

void norm(const Pass& p, const float* x, std::int64_t cols, const float* gain, float* y,
          float* yq) {
  kc::NormArgs a;
  a.x = x;
  a.x_stride = a.y_stride = cols;
  a.y = y;
  a.yq = p.native ? yq : nullptr;
  a.gain = gain;
  a.n = p.n();
  a.cols = static_cast<std::int32_t>(cols);
  a.quantise_block = p.fp8_block();
  a.eps = p.config.norm_eps;
  a.native = p.native;
  p.launch(kc::launch_norm(a), a);
}

}  // namespace v4i::forward::cuda
