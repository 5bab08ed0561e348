// What the device can do at most: copies on it and from the host, rows that a kernel reads from
// there.
#include "bench/cuda/families.h"
#include "kernels/cuda/norm.h"

namespace v4i::bench::cuda {
namespace {

// A copy of `bytes` from one place to another.
double copy(Meter& m, const char* shape, double counted, void* to, const void* from,
            std::size_t bytes, bool down) {
  Case c{"copy", shape, 1, counted, 0, 0};
  return m.measure(c, [&](const fc::Stream& s, int) {
    if (down)
      s.download(to, from, bytes);
    else
      s.upload(to, from, bytes);
  });
}

// Rows of floats in another order, read by a kernel.
void rows(Meter& m, const char* shape, const float* from, int count, int width) {
  std::vector<kc::Token> tokens(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    tokens[static_cast<std::size_t>(i)].row = static_cast<std::int32_t>(i * 7LL % count);
  kc::PickArgs a;
  a.array[0] = {from, m.room(std::int64_t{count} * width), width};
  a.tokens = m.copy_of(tokens);
  a.n = count;
  a.arrays = 1;
  const double bytes = 4.0 * count * width;
  m.measure({"pick", shape, count, bytes, 0, 0},
            [&](const fc::Stream& s, int) { s.launch(kc::launch_pick(a), a); });
}

}  // namespace

void measure_floors(Meter& m) {
  const std::size_t mega = std::size_t{1} << 20, large = m.dry() ? mega : 512 * mega;
  m.begin();
  {
    const auto count = static_cast<std::int64_t>(large / 4);
    const float* from = m.floats(count);
    float* to = m.room(count);
    const double us =
        m.measure({"copy", "on the device", 1, 2.0 * static_cast<double>(large), 0, 0},
                  [&](const fc::Stream& s, int) { s.copy(to, from, large); });
    m.bandwidth = 2.0 * static_cast<double>(large) / (us * 1e-6);
    m.measure({"fill", "on the device", 1, static_cast<double>(large), 0, 0},
              [&](const fc::Stream& s, int) { s.fill(to, 0, large); });
  }
  const std::size_t pinned = large / 4;
  const double bytes = static_cast<double>(pinned);
  fc::PinnedBuffer host(m.device(), m.budget(), Use::kScratch, pinned, "pinned memory");
  for (std::size_t i = 0; i < pinned; i += 4096) host.host()[i] = 1;  // pages that are there
  m.begin();
  void* there = m.room<std::uint8_t>(static_cast<std::int64_t>(pinned));
  copy(m, "from pinned memory", bytes, there, host.host(), pinned, false);
  copy(m, "to pinned memory", bytes, host.host(), there, pinned, true);
  const int width = 2048, count = static_cast<int>(pinned / 4 / width);
  rows(m, "rows of 8 KiB in pinned memory", reinterpret_cast<const float*>(host.on_device()), count,
       width);
  rows(m, "rows of 8 KiB on the device", m.floats(std::int64_t{count} * width), count, width);
}

}  // namespace v4i::bench::cuda
