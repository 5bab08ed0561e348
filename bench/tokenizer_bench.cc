// Tokenizer speed in bytes of text per second, one thread.
//
// The limit is memory latency: every word is a lookup in a hash table of a few megabytes.
// Give a published tokenizer.json in V4I_TOKENIZER for the numbers that matter (128,000
// tokens); without it the small one of the tests is used.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "lib/tokenizer/tokenizer.h"

namespace {

using v4i::tokenizer::Tokenizer;

const Tokenizer& tokenizer() {
  static const auto t = [] {
    if (const char* path = std::getenv("V4I_TOKENIZER")) return Tokenizer::open(path);
    std::string root = __FILE__;
    root.resize(root.rfind("bench/"));
    return Tokenizer::open(root + "tests/tokenizer/golden/tokenizer.json");
  }();
  return *t;
}

// Words with the lengths and the skew of English, every tenth one made up.
std::string prose(std::size_t bytes) {
  const char* const words[] = {
      "the",  "of",     "and",     "to",      "in",         "that",         "was",      "his",
      "with", "which",  "people",  "through", "government", "because",      "between",  "nothing",
      "each", "little", "against", "another", "interest",   "considerable", "morning",  "language",
      "said", "before", "general", "himself", "something",  "particularly", "children", "question"};
  std::mt19937 rng(1);
  std::string s;
  while (s.size() < bytes) {
    if (rng() % 10 == 0)
      for (unsigned n = 4 + rng() % 8; n > 0; --n) s += static_cast<char>('a' + rng() % 26);
    else
      s += words[rng() % (rng() % 2 == 0 ? 8 : 32)];
    const unsigned r = rng() % 40;
    s += r == 0 ? ".\n\n" : r < 3 ? ". " : r < 6 ? ", " : " ";
  }
  return s;
}

std::string han(std::size_t bytes) {
  std::mt19937 rng(2);
  std::string s;
  while (s.size() < bytes) {
    const unsigned c = rng() % 12 == 0 ? 0x3002 : 0x4e00 + rng() % 3000;
    s += static_cast<char>(0xe0 | c >> 12);
    s += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    s += static_cast<char>(0x80 | (c & 0x3f));
  }
  return s;
}

void encode(benchmark::State& state, const std::string& text) {
  const Tokenizer& t = tokenizer();  // opened outside the loop
  std::vector<std::int32_t> ids;
  for (auto _ : state) {
    ids.clear();
    t.encode(text, true, ids);
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
  state.counters["bytes/token"] =
      static_cast<double>(text.size()) / static_cast<double>(ids.size());
}

void decode(benchmark::State& state) {
  std::vector<std::int32_t> ids;
  tokenizer().encode(prose(1u << 20), false, ids);
  std::size_t bytes = 0;
  for (auto _ : state) bytes += tokenizer().decode(ids).size();
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

BENCHMARK_CAPTURE(encode, prose, prose(1u << 20));
BENCHMARK_CAPTURE(encode, han, han(1u << 20));
BENCHMARK_CAPTURE(encode, one_letter, std::string(1u << 20, 'a'));
BENCHMARK(decode);

}  // namespace
