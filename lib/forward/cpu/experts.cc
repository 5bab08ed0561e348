// The experts.  Spec 2.9.
//
// Tokens are grouped by expert, so an expert's weights are read once for all of its
// tokens.  A token's experts are added in rising order of their number, the shared
// expert last: its result depends neither on other tokens nor on the waves in which
// experts arrive.
//
// The shared expert is one more group, of all tokens.  Its pieces and those of the others take
// turns: many tokens are arithmetic, few are memory, and of threads that do both neither waits.
#include "lib/forward/cpu/experts.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace v4i::forward::cpu {

namespace {

// Rows in one piece of work.  Few pieces pack their tokens less often, many keep all threads busy:
// at least eight pieces a thread where the rows allow it.
std::int64_t piece_rows(std::int64_t rows, std::int64_t least, std::int64_t most,
                        std::int64_t groups, int threads) {
  const std::int64_t wanted = std::max<std::int64_t>(1, (8 * threads + groups - 1) / groups);
  const std::int64_t even = (rows / wanted + least - 1) / least * least;
  return std::clamp(even, least, std::max(least, most / least * least));
}

// Some tokens through an expert: slots [begin, end) of gate/up, rows of x.
struct Group {
  const model::Expert* expert;
  std::int64_t begin, end;
  const std::int32_t* token;  // of each slot; null: slot begin + i is token i
  const float* weight;        // of each slot; null: 1
  const void* prepared_x = nullptr;
  const void* prepared_gate = nullptr;

  std::int64_t size() const { return end - begin; }
};

// Threads' time in the pieces of the shared expert, where a profile wants to know.
class SharedTime {
 public:
  explicit SharedTime(bool on) : on_(on) {}

  template <class Body>
  void count(bool shared, Body&& body) {
    if (!on_ || !shared) return body();
    const auto start = Clock::now();
    body();
    ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
  }
  std::int64_t ns() const { return ns_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool on_;
  std::atomic<std::int64_t> ns_{0};
};

// Experts that are there at the same time: of the lease, [first, first + routed), and the shared
// one or not.
struct Wave {
  const ExpertArgs& args;
  const experts::Experts::Lease& lease;
  const std::int64_t first, routed, shared;
  SharedTime& time;
  const void* shared_x = nullptr;  // prepared
  bool gates = false;              // are prepared

  std::int64_t groups() const { return routed + shared; }
  // Of all groups, a token as often as it has experts here.
  std::int64_t tokens() const {
    const Routed& r = args.routed;
    std::int64_t n = shared * r.tokens;
    for (std::int64_t i = 0; i < routed; ++i) {
      const auto e = static_cast<std::size_t>(r.active[static_cast<std::size_t>(first + i)]);
      n += r.begin[e + 1] - r.begin[e];
    }
    return n;
  }
};

std::byte* gate_room(const Cpu& p, std::int64_t slot) {
  return p.prepared + kernels::linear_prepared_bytes(p.config.expert_width, slot);
}

// Group i, the shared expert last.
Group group_at(const Cpu& p, const Wave& b, std::int64_t i) {
  const Routed& r = b.args.routed;
  Group g{};
  if (i == b.routed) {
    g = {&b.args.moe.shared, r.slots, r.slots + r.tokens, nullptr, nullptr, b.shared_x};
  } else {
    const auto at = static_cast<std::size_t>(b.first + i);
    const auto e = static_cast<std::size_t>(r.active[at]);
    const std::int64_t begin = r.begin[e], end = r.begin[e + 1];
    g = {&b.lease[at], begin, end, r.token + begin, r.weight + begin};
  }
  if (b.gates) g.prepared_gate = gate_room(p, g.begin);
  return g;
}

kernels::LinearArgs up_args(const Cpu& p, const Wave& b, const Group& g) {
  kernels::LinearArgs a = product_of(p, g.expert->w1, b.args.x, p.config.width, g.size());
  a.x_row = g.token;
  a.prepared = g.prepared_x;
  return a;
}

kernels::LinearArgs down_args(const Cpu& p, const Wave& b, const Group& g) {
  const std::int64_t width = p.config.expert_width;
  const float* gate = b.args.gate + g.begin * width;
  kernels::LinearArgs a = product_of(p, g.expert->w2, gate, width, g.size());
  a.prepared = g.prepared_gate;
  return a;
}

// gate <- quantised(silu(w1 x) * (w3 x) * weight), rows [r0, r1).
void up_rows(const Cpu& p, const Wave& b, const Group& g, std::int64_t r0, std::int64_t r1,
             ThreadScratch& scratch) {
  const model::Config& c = p.config;
  const std::int64_t width = c.expert_width, n = g.size(), rows = r1 - r0;
  float* gate = b.args.gate + g.begin * width;
  kernels::LinearArgs args = up_args(p, b, g);
  args.row_begin = r0;
  args.row_end = r1;
  args.scratch = scratch.linear.data();
  args.y = gate;
  args.y_stride = width;
  multiply(p, g.expert->w1, args);
  args.y = scratch.part.data();
  args.y_stride = rows;
  args.y_begin = r0;
  multiply(p, g.expert->w3, args);
  for (std::int64_t i = 0; i < n; ++i) {
    float* a = gate + i * width + r0;
    p.kernels.swiglu({a, scratch.part.data() + i * rows, rows, c.swiglu_limit,
                      g.weight != nullptr ? g.weight[i] : 1.0f, p.native});
    if (p.fp8_inputs()) p.kernels.quantise({a, a, rows, c.fp8_block});
  }
}

// out[token, r0..r1) += w2 gate.
void down_rows(const Cpu& p, const Wave& b, const Group& g, std::int64_t r0, std::int64_t r1,
               ThreadScratch& scratch) {
  const std::int64_t n = g.size(), rows = r1 - r0;
  kernels::LinearArgs args = down_args(p, b, g);
  args.row_begin = args.y_begin = r0;
  args.row_end = r1;
  args.scratch = scratch.linear.data();
  args.y = scratch.part.data();
  args.y_stride = rows;
  multiply(p, g.expert->w2, args);
  for (std::int64_t i = 0; i < n; ++i) {
    float* out = b.args.out + (g.token != nullptr ? g.token[i] : i) * p.config.width;
    for (std::int64_t r = 0; r < rows; ++r) out[r0 + r] += scratch.part[std::size_t(i * rows + r)];
  }
}

// Of one matrix of each group.
std::int64_t expert_work(const model::Config& c, const Wave& b) {
  return product_work(c.width, c.expert_width, b.tokens() + b.groups() - 1);
}

// w1, w3 and what lies between them and w2.
void run_ups(const Cpu& p, const Wave& b) {
  const model::Config& c = p.config;
  const auto block = [&](std::int64_t groups) {
    return piece_rows(c.expert_width, gate_rows(c), expert_piece_rows(c), groups, p.pool.at_once());
  };
  const auto pieces_of = [&](std::int64_t rows) { return (c.expert_width + rows - 1) / rows; };
  const std::int64_t rows[2] = {block(b.routed), block(1)};  // of a piece: routed, shared
  const std::int64_t shared = b.shared * pieces_of(rows[1]);
  const std::int64_t all = b.routed * pieces_of(rows[0]) + shared;
  p.pool.share(all, 2 * expert_work(c, b), [&](std::int64_t u, int thread) {
    const std::int64_t before = u * shared / all;  // pieces of the shared expert
    const bool is_shared = (u + 1) * shared / all > before;
    const std::int64_t step = rows[is_shared], per_group = pieces_of(step);
    const std::int64_t piece = is_shared ? before : u - before;
    const std::int64_t i = is_shared ? b.routed : piece / per_group, r = piece % per_group * step;
    b.time.count(is_shared, [&] {
      up_rows(p, b, group_at(p, b, i), r, std::min(r + step, c.expert_width),
              p.threads[std::size_t(thread)]);
    });
  });
}

// The gates of all groups for w2, side by side in `prepared`; false: the first has no such form.
bool prepare_gates(const Cpu& p, const Wave& b) {
  constexpr int kParts = 8;  // of the gates of a group
  const auto prepare_with = [&](const Group& g) {
    return p.preparing(down_args(p, b, g), b.args.routed.tokens);
  };
  if (prepare_with(group_at(p, b, 0)) == nullptr) return false;
  const std::int64_t work = element_work(b.tokens() * p.config.expert_width);
  p.pool.share(b.groups() * kParts, work, [&](std::int64_t u, int) {
    const Group g = group_at(p, b, u / kParts);
    const auto make = prepare_with(g);  // the shared expert's may be float32
    if (make != nullptr)
      make(down_args(p, b, g), static_cast<int>(u % kParts), kParts, gate_room(p, g.begin));
  });
  return true;
}

// w2; each piece adds its rows of all groups, in order.
void run_downs(const Cpu& p, const Wave& b) {
  const model::Config& c = p.config;
  const std::int64_t rows = piece_rows(c.width, 64, expert_piece_rows(c), 1, p.pool.at_once());
  p.pool.share((c.width + rows - 1) / rows, expert_work(c, b), [&](std::int64_t u, int thread) {
    for (std::int64_t i = 0; i < b.groups(); ++i)
      b.time.count(i == b.routed, [&] {
        down_rows(p, b, group_at(p, b, i), u * rows, std::min((u + 1) * rows, c.width),
                  p.threads[std::size_t(thread)]);
      });
  });
}

}  // namespace

void run_experts(const Cpu& p, experts::Experts& experts, const ExpertArgs& args,
                 Profile* profile) {
  SharedTime time(profile != nullptr);
  experts::Experts::Lease lease =
      experts.acquire(args.layer, args.routed.active, {args.routed.tokens, args.routed.begin});
  if (!args.ahead.ids.empty()) experts.hint(args.ahead.layer, args.ahead.ids, false);
  const auto active = static_cast<std::int64_t>(args.routed.active.size());
  for (std::int64_t first = 0; first < active;) {
    const auto end = static_cast<std::int64_t>(lease.wait(static_cast<std::size_t>(first)));
    V4I_CHECK(end > first && end <= active);
    Wave wave{args, lease, first, end - first, args.with_shared && end == active ? 1 : 0, time};
    if (wave.shared > 0) {
      kernels::LinearArgs up = up_args(p, wave, group_at(p, wave, wave.routed));
      prepare(p, up);
      wave.shared_x = up.prepared;
    }
    run_ups(p, wave);
    wave.gates = prepare_gates(p, wave);
    run_downs(p, wave);
    first = end;
  }
  if (profile == nullptr) return;
  profile->add_experts(active);
  profile->mark(model::Part::kRouted);
  profile->move(model::Part::kRouted, model::Part::kShared, time.ns() / p.pool.size());
}

}  // namespace v4i::forward::cpu
