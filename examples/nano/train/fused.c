/* fused.c: the small loops of mHC, forward and backward, for training on a CPU.
 *
 * In eager PyTorch the Sinkhorn rounds and the mixing of four streams cost more than all matrix
 * products of the nano model.  train/fused.py compiles this file and hands over contiguous
 * float32 arrays; each function is the plain definition of hyper.py, layers.py and attention.py.
 * train.parity compares the forward passes with the numpy oracle, except for soft().  T tokens, 4
 * streams, D channels.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { kStreams = 4, kCells = 16, kLanes = 16, kMaxRounds = 40 };
typedef float Lanes[kLanes];

/* One half round: y = x / (sum + eps), sums over rows (step 1) or columns (step 4) of 4 x 4. */
static void normalise(Lanes* x, Lanes* y, Lanes* den, int step, float eps) {
  const int other = step == 1 ? 4 : 1;
  for (int i = 0; i < kStreams; ++i)
    for (int l = 0; l < kLanes; ++l) {
      const float a = x[i * other][l], b = x[i * other + step][l], c = x[i * other + 2 * step][l],
                  d = x[i * other + 3 * step][l], s = 1.0f / (a + b + c + d + eps);
      den[i][l] = s;
      y[i * other][l] = a * s;
      y[i * other + step][l] = b * s;
      y[i * other + 2 * step][l] = c * s;
      y[i * other + 3 * step][l] = d * s;
    }
}

/* Gradient of normalise, in place: g(x) = (g(y) - sum g(y) y) / (sum + eps). */
static void normalise_back(Lanes* g, Lanes* y, Lanes* den, int step) {
  const int other = step == 1 ? 4 : 1;
  for (int i = 0; i < kStreams; ++i)
    for (int l = 0; l < kLanes; ++l) {
      float dot = 0;
      for (int j = 0; j < kStreams; ++j)
        dot += g[i * other + j * step][l] * y[i * other + j * step][l];
      for (int j = 0; j < kStreams; ++j)
        g[i * other + j * step][l] = (g[i * other + j * step][l] - dot) * den[i][l];
    }
}

static void soft_rows(Lanes* x, Lanes* p) {
  for (int i = 0; i < kCells; i += 4)
    for (int l = 0; l < kLanes; ++l) {
      const float top = fmaxf(fmaxf(x[i][l], x[i + 1][l]), fmaxf(x[i + 2][l], x[i + 3][l]));
      float s = 0;
      for (int j = i; j < i + 4; ++j) s += p[j][l] = expf(x[j][l] - top);
      for (int j = i; j < i + 4; ++j) p[j][l] /= s;
    }
}

static int load_lanes(const float* from, long first, long tokens, Lanes* x) {
  const int n = tokens - first < kLanes ? (int)(tokens - first) : kLanes;
  memset(x, 0, sizeof(Lanes) * kCells);
  for (int l = 0; l < n; ++l)
    for (int c = 0; c < kCells; ++c) x[c][l] = from[(first + l) * kCells + c];
  return n;
}

static void store_lanes(Lanes* x, long first, int n, float* to) {
  for (int l = 0; l < n; ++l)
    for (int c = 0; c < kCells; ++c) to[(first + l) * kCells + c] = x[c][l];
}

/* out [T, 4, 4] = sinkhorn(in); with grad not null: grad_in = its gradient instead. */
void sinkhorn(const float* in, float* out, const float* grad, float* grad_in, long tokens,
              int iters, float eps) {
  Lanes p[kCells], state[2 * kMaxRounds][kCells], den[2 * kMaxRounds][kStreams], g[kCells];
  for (long t = 0; t < tokens; t += kLanes) {
    const int n = load_lanes(in, t, tokens, state[0]);
    soft_rows(state[0], p);
    for (int c = 0; c < kCells; ++c)
      for (int l = 0; l < kLanes; ++l) state[0][c][l] = p[c][l] + eps;
    const int halves = 2 * iters - 1; /* columns first, then rows and columns in turn */
    for (int k = 0; k < halves; ++k) normalise(state[k], state[k + 1], den[k], k % 2 ? 1 : 4, eps);
    if (!grad) {
      store_lanes(state[halves], t, n, out);
      continue;
    }
    load_lanes(grad, t, tokens, g);
    for (int k = halves - 1; k >= 0; --k) normalise_back(g, state[k + 1], den[k], k % 2 ? 1 : 4);
    for (int i = 0; i < kCells; i += 4)
      for (int l = 0; l < kLanes; ++l) {
        float dot = 0;
        for (int j = i; j < i + 4; ++j) dot += g[j][l] * p[j][l];
        for (int j = i; j < i + 4; ++j) g[j][l] = p[j][l] * (g[j][l] - dot);
      }
    store_lanes(g, t, n, grad_in);
  }
}

/* y [T, D] = sum of the streams h [T, 4, D] weighted by w [T, 4]. */
void gather(const float* h, const float* w, float* y, long tokens, long width) {
  for (long t = 0; t < tokens; ++t, h += 4 * width, w += 4, y += width)
    for (long d = 0; d < width; ++d)
      y[d] = w[0] * h[d] + w[1] * h[width + d] + w[2] * h[2 * width + d] + w[3] * h[3 * width + d];
}

static float dot(const float* a, const float* b, long n) {
  float s = 0;
  for (long i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}

void gather_back(const float* g, const float* h, const float* w, float* gh, float* gw, long tokens,
                 long width) {
  for (long t = 0; t < tokens; ++t, h += 4 * width, gh += 4 * width, w += 4, gw += 4, g += width)
    for (int i = 0; i < kStreams; ++i) {
      gw[i] = dot(g, h + i * width, width);
      for (long d = 0; d < width; ++d) gh[i * width + d] = w[i] * g[d];
    }
}

/* out [T, 4, D]: stream j = post[j] y + sum over i of comb[i][j] h[i]. */
void scatter(const float* y, const float* h, const float* post, const float* comb, float* out,
             long tokens, long width) {
  for (long t = 0; t < tokens;
       ++t, h += 4 * width, out += 4 * width, post += 4, comb += 16, y += width)
    for (int j = 0; j < kStreams; ++j) {
      const float p = post[j], a = comb[j], b = comb[4 + j], c = comb[8 + j], e = comb[12 + j];
      for (long d = 0; d < width; ++d)
        out[j * width + d] =
            p * y[d] + a * h[d] + b * h[width + d] + c * h[2 * width + d] + e * h[3 * width + d];
    }
}

void scatter_back(const float* g, const float* y, const float* h, const float* post,
                  const float* comb, float* gy, float* gh, float* gpost, float* gcomb, long tokens,
                  long width) {
  for (long t = 0; t < tokens; ++t, h += 4 * width, g += 4 * width, gh += 4 * width, post += 4,
            comb += 16, y += width, gy += width, gpost += 4, gcomb += 16) {
    gather(g, post, gy, 1, width);
    for (int i = 0; i < kStreams; ++i) {
      gather(g, comb + 4 * i, gh + i * width, 1, width);
      gpost[i] = dot(g + i * width, y, width);
      for (int j = 0; j < kStreams; ++j)
        gcomb[4 * i + j] = dot(h + i * width, g + j * width, width);
    }
  }
}

/* r [T] = 1 / sqrt(mean of x [T, D] squared + eps). */
void inv_rms(const float* x, float* r, long tokens, long width, float eps) {
  for (long t = 0; t < tokens; ++t)
    r[t] = 1.0f / sqrtf(dot(x + t * width, x + t * width, width) / width + eps);
}

void inv_rms_back(const float* g, const float* x, const float* r, float* gx, long tokens,
                  long width) {
  for (long t = 0; t < tokens; ++t, x += width, gx += width) {
    const float s = -g[t] * r[t] * r[t] * r[t] / width;
    for (long d = 0; d < width; ++d) gx[d] = s * x[d];
  }
}

/* y [T, D] = weight [D] * x / rms(x); a missing weight is 1. */
void norm(const float* x, const float* weight, float* y, float* r, long tokens, long width,
          float eps) {
  inv_rms(x, r, tokens, width, eps);
  for (long t = 0; t < tokens; ++t)
    for (long d = 0; d < width; ++d)
      y[t * width + d] = x[t * width + d] * r[t] * (weight ? weight[d] : 1.0f);
}

void norm_back(const float* g, const float* x, const float* weight, const float* r, float* gx,
               float* gw, long tokens, long width) {
  for (long t = 0; t < tokens; ++t, x += width, g += width, gx += width) {
    float s = 0;
    for (long d = 0; d < width; ++d) s += g[d] * x[d] * (weight ? weight[d] : 1.0f);
    s *= r[t] * r[t] / width;
    for (long d = 0; d < width; ++d) gx[d] = r[t] * (g[d] * (weight ? weight[d] : 1.0f) - s * x[d]);
    if (gw)
      for (long d = 0; d < width; ++d) gw[d] += g[d] * x[d] * r[t];
  }
}

/* y = x [T, heads, D] with its last 2R channels turned in pairs by the angles of cos, sin [T, R].
 */
void turn(const float* x, const float* cosine, const float* sine, float* y, long tokens, long heads,
          long width, long pairs, float sign) {
  for (long t = 0; t < tokens; ++t)
    for (long h = 0; h < heads; ++h, x += width, y += width) {
      const long first = width - 2 * pairs;
      memcpy(y, x, first * sizeof *x);
      const float *a = x + first, *c = cosine + t * pairs, *s = sine + t * pairs;
      for (long i = 0; i < pairs; ++i) {
        y[first + 2 * i] = a[2 * i] * c[i] - sign * a[2 * i + 1] * s[i];
        y[first + 2 * i + 1] = sign * a[2 * i] * s[i] + a[2 * i + 1] * c[i];
      }
    }
}

typedef unsigned short Bf16;

static float wide(Bf16 x) {
  union {
    unsigned u;
    float f;
  } v = {(unsigned)x << 16};
  return v.f;
}

static Bf16 narrow(float x) {
  union {
    float f;
    unsigned u;
  } v = {x};
  return (Bf16)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

static float highest(const Bf16* x, const unsigned char* see, long n, float top) {
  for (long i = 0; i < n; ++i) {
    const float v = see[i] ? wide(x[i]) : -1e30f;
    top = v > top ? v : top;
  }
  return top;
}

/* p = bf16 of exp(x - top) where seen, else 0; returns the sum before rounding. */
static float exponentials(const Bf16* x, const unsigned char* see, Bf16* p, long n, float top) {
  float sum = 0;
  for (long i = 0; i < n; ++i) {
    const float e = see[i] ? expf(wide(x[i]) - top) : 0.0f;
    sum += e;
    p[i] = narrow(e);
  }
  return sum;
}

/* Softmax of queries [Q, heads] over window keys a [.., A] and rows b [.., B] (B may be 0) and a
 * sink per head, without the division: p and its denominator den [Q, heads].  see_a, see_b [Q, A or
 * B]. */
void soft(const Bf16* a, const Bf16* b, const unsigned char* see_a, const unsigned char* see_b,
          const float* sink, Bf16* pa, Bf16* pb, float* den, float* sink_share, long queries,
          long heads, long na, long nb) {
  for (long q = 0; q < queries; ++q, see_a += na, see_b += nb)
    for (long h = 0; h < heads; ++h, a += na, b += nb, pa += na, pb += nb, ++den, ++sink_share) {
      const float top = highest(b, see_b, nb, highest(a, see_a, na, -1e30f));
      *sink_share = top > -1e30f ? expf(sink[h] - top) : 1.0f;
      *den =
          *sink_share + exponentials(a, see_a, pa, na, top) + exponentials(b, see_b, pb, nb, top);
    }
}

/* Gradient of the logits: p (gradient of p + gradient of den). */
void soft_back(const Bf16* p, const Bf16* gp, const float* gden, Bf16* g, long rows, long n) {
  for (long r = 0; r < rows; ++r, p += n, gp += n, g += n)
    for (long i = 0; i < n; ++i) g[i] = narrow(wide(p[i]) * (wide(gp[i]) + gden[r]));
}
