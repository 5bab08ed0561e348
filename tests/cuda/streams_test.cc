// kernels: streams collapse
// The residual streams against spec 2.3 in double.
#include "tests/cuda/streams_reference.h"

namespace v4i {
namespace {

using namespace test::streams;

void check_same(const Tokens& all, const Tokens& one, std::int64_t i) {
  const auto same = [&](const Buffer<float>& a, const Buffer<float>& b) {
    CHECK(row_of(a, i, std::int64_t(b.size())).same_bits(b));
  };
  same(all.streams, one.streams);
  same(all.new_post, one.new_post);
  same(all.new_comb, one.new_comb);
  same(all.x, one.x);
  same(all.xq, one.xq);
}

// Token i alone, before the kernels.
Tokens alone(const Tokens& t, std::int64_t i) {
  Shape s = t.s;
  s.n = 1;
  const std::int64_t d = s.width, n = s.count;
  Tokens one{s,
             row_of(t.streams, i, n * d),
             row_of(t.out, i, d),
             copy(t.found),
             row_of(t.more, i, d),
             row_of(t.shared, i, d),
             row_of(t.post, i, n),
             row_of(t.comb, i, n * n),
             Buffer<std::int32_t>(std::vector<std::int32_t>(
                 t.token_slot.begin() + i * s.choices, t.token_slot.begin() + (i + 1) * s.choices)),
             {},
             {},
             {},
             {},
             {}};
  one.make_outputs();
  return one;
}

void try_shape(const Shape& s, std::int64_t batch_step) {
  const unsigned seed = fresh_seed();
  INFO(s.n << " tokens, " << s.count << " streams of " << s.width << ", native " << s.native
           << ", inputs of seed " << seed);
  const Tokens given = random_tokens(s, seed);
  const Weights w = random_weights(s, s.mixes(), seed);
  for (const std::uint64_t schedule : emulate::schedules()) {
    Tokens t = random_tokens(s, seed);
    run_both(t, w, schedule);
    check_streams(given, t.streams);
    check_tokens(t, w);
    for (std::int64_t i = 0; i < s.n; i += batch_step) {
      Tokens one = alone(given, i);
      run_both(one, w, schedule + 1);
      check_same(t, one, i);
    }
  }
}

TEST_CASE("Streams: small and odd shapes") {
  for (const bool native : {false, true}) {
    try_shape({3, 4, 24, native, true, false}, 1);
    try_shape({2, 1, 24, native, true, false, 1, 32}, 1);
    try_shape({5, 3, 7, native, true, false, 3, 5}, 2);
    try_shape({9, 4, 260, native, true, true, 9, 32}, 4);
    try_shape({2, 16, 70, native, true, true, 2, 48}, 1);
    try_shape({3, 5, 130, native, false, false, 3, 64}, 1);
    try_shape({4, 4, 66, native, true, true, 6, 128}, 3);
  }
}

TEST_CASE("Streams: shapes of V4") {
  try_shape({2, 4, 4096, true, true, true, 6}, 1);
  try_shape({1, 4, 7168, true, false, false}, 1);
}

TEST_CASE("Streams: many tokens give the bits of one") {
  try_shape({300, 4, 64, true, true, true, 2}, 97);
  try_shape({130, 2, 36, false, true, false}, 43);
}

TEST_CASE("Streams: a result mixed back alone gives the same streams") {
  for (const Shape s : {Shape{5, 4, 520, true, true, true}, Shape{3, 3, 70, false, true, false}}) {
    const unsigned seed = fresh_seed();
    const Weights w = random_weights(s, s.mixes(), seed);
    for (const std::uint64_t schedule : emulate::schedules()) {
      Tokens a = random_tokens(s, seed), b = random_tokens(s, seed);
      run_both(a, w, schedule);
      const StreamsPostArgs post{b.streams.data(), b.result(), s.n, s.count, s.width, s.native};
      emulate::run(launch_streams_post(post), post, schedule);
      CHECK(a.streams.same_bits(b.streams));
    }
  }
}

TEST_CASE("Streams: the outputs of a run") {
  for (const Shape s :
       {Shape{6, 4, 200, true, false, false}, Shape{6, 7, 30, false, false, false}}) {
    const unsigned seed = fresh_seed();
    const Weights w = random_weights(s, s.count, seed);
    const Buffer<std::int32_t> rows(std::vector<std::int32_t>{1, 5, 5});
    for (const std::uint64_t schedule : emulate::schedules()) {
      Tokens t = random_tokens(s, seed);
      StreamsMixArgs mix = mix_args(t, w);
      Buffer<float> partial(std::size_t(3 * mix_ranges(s.width) * (s.count + 1)));
      mix.row = rows.data(), mix.n = 3, mix.mixes = s.count, mix.partial = partial.data();
      emulate::run(launch_streams_mix(mix), mix, schedule);
      StreamsCollapseArgs a = collapse_args(t, w);
      Buffer<float> x(std::size_t(3 * s.width));
      a.row = rows.data(), a.n = 3, a.mixes = s.count, a.partial = partial.data();
      a.post = a.comb = a.xq = nullptr, a.x = x.data();
      emulate::run(launch_streams_collapse(a), a, schedule);
      for (std::size_t i = 0; i < 3; ++i) {
        const float* f = t.streams.data() + rows[i] * s.count * s.width;
        check_row(s, w, coefficients(s, w, s.count, f), f, x.data() + i * s.width);
      }
    }
  }
}

TEST_CASE("Streams: Sinkhorn's example of the specification") {
  const Shape s{1, 4, 8, false, false, false};
  Weights w = random_weights(s, s.mixes(), 1);
  w.fn.fill(0);
  w.scale.fill(1);
  const float logits[16] = {2, 0, -1, .5f, 0, 1, 3, -2, 1, 1, 1, 1, -3, 0, 2, 4};
  const float want[16] = {.707303f, .190358f, .023396f, .078944f, .050462f, .272774f,
                          .673347f, .003417f, .240779f, .478816f, .159963f, .120441f,
                          .001455f, .058051f, .143293f, .797197f};
  std::copy(logits, logits + 16, w.base.begin() + 8);
  Tokens t = random_tokens(s, 1);
  run_both(t, w, 0);
  for (std::size_t i = 0; i < 16; ++i) CHECK(std::fabs(t.new_comb[i] - want[i]) < 1e-6f);
}

}  // namespace
}  // namespace v4i
