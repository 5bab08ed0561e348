// Cosine and sine of a rotary angle as the CPU computes them (fill_turn): the angle is a float32
// product, its cosine and sine are taken in double and rounded to float32.
//
// Written out so that both compilers give the same bits and none brings the slow reduction of
// arguments beyond 1e5, which takes local memory: angles stay below 2^31.
#pragma once

#include "kernels/cuda/kernel.cuh"

namespace v4i::kernels::cuda {

struct Turn {
  float cosine, sine;
};

// Of |r| <= pi/4 (a little more does no harm): Taylor-like polynomials, error below 2^-53.
V4I_DEVICE double sine_near_zero(double r) {
  const double z = r * r;
  double p = 1.58969099521155010221e-10;
  p = fma(p, z, -2.50507602534068634195e-08);
  p = fma(p, z, 2.75573137070700676789e-06);
  p = fma(p, z, -1.98412698298579493134e-04);
  p = fma(p, z, 8.33333333332248946124e-03);
  p = fma(p, z, -1.66666666666666324348e-01);
  return fma(r * z, p, r);
}

V4I_DEVICE double cosine_near_zero(double r) {
  const double z = r * r;
  double p = -1.13596475577881948265e-11;
  p = fma(p, z, 2.08757232129817482790e-09);
  p = fma(p, z, -2.75573143513906633035e-07);
  p = fma(p, z, 2.48015872894767294178e-05);
  p = fma(p, z, -1.38888888888741095749e-03);
  p = fma(p, z, 4.16666666666666019037e-02);
  return fma(z * z, p, fma(z, -0.5, 1.0));
}

V4I_DEVICE Turn turn_of(float angle) {
  const double quarters = rint(static_cast<double>(angle) * 0.63661977236758138243);  // 2 / pi
  double r = fma(-quarters, 1.57079632679489655800, static_cast<double>(angle));      // pi / 2
  r = fma(-quarters, 6.12323399573676603587e-17, r);  // what pi / 2 has beyond a double
  const double s = sine_near_zero(r), c = cosine_near_zero(r);
  const int quadrant = static_cast<int>(static_cast<int64_t>(quarters) & 3);
  const double cosine = (quadrant & 1) != 0 ? s : c, sine = (quadrant & 1) != 0 ? c : s;
  const bool minus_cosine = quadrant == 1 || quadrant == 2, minus_sine = quadrant >= 2;
  return {static_cast<float>(minus_cosine ? -cosine : cosine),
          static_cast<float>(minus_sine ? -sine : sine)};
}

// Of the channel pair with this frequency at a position.
V4I_DEVICE Turn turn_at(int64_t position, float frequency) {
  return turn_of(static_cast<float>(position) * frequency);
}

}  // namespace v4i::kernels::cuda
