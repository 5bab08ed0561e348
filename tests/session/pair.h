// The same session twice, one of them with drafts.
#pragma once

#include <memory>
#include <string>

#include "tests/session/fixture.h"

namespace v4i::session::test {

struct Pair {
  std::shared_ptr<Context> context;
  std::unique_ptr<Session> plain, drafted;
  std::string plain_text, drafted_text;
  int max_tokens = 16;  // of a step

  Pair(std::shared_ptr<Context> of, const std::string& prompt, std::uint64_t seed,
       std::int64_t context_size = 0);
  template <class Body>
  void both(Body&& body) {
    body(*plain, false);
    body(*drafted, true);
  }
  RunOptions drafts() const;
  Step step();  // of the drafted one, and as many tokens of the other
  void generate(const GenerateOptions& options);
  void check() const;  // that nothing tells them apart
};

// Random steps, rewinds, forks, saves, batched steps and stops, checked after each.  `greedy`: or
// sampled.
void random_life(Pair& p, std::uint32_t seed, bool greedy, int operations);

}  // namespace v4i::session::test
