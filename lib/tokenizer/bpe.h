// Bpe: byte pair encoding of one word.
//
// Start from one token per byte; as long as some neighbouring pair has a merge, replace
// the pair whose merge has the lowest rank, the leftmost of equals.  A heap of candidate
// pairs over a linked list keeps it at O(n log n), so a megabyte of one letter is only
// a slow word, not a frozen program.
//
// The model is immutable but for whole_, which remembers per token whether its own bytes
// encode to just itself (most words of prose are one token, and are answered by one hash
// lookup).  Any thread; a Scratch belongs to one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/tokenizer/vocab.h"

namespace v4i::tokenizer {

struct Merge {
  std::int32_t left, right, result;  // token ids
};

class Bpe {
 public:
  struct Symbol {
    std::int32_t id, prev, next;  // prev, next: indices, -1 at the ends; id -1: merged away
  };
  struct Candidate {
    std::uint64_t order;  // rank << 32 | index of the left symbol
    std::int32_t result;
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // `merges` in order of rank; of two merges of one pair the later counts, as in
  // Hugging Face.  Error(kFormat) when a byte has no token.  `vocab` must outlive this.
  Bpe(const Vocab& vocab, const std::vector<Merge>& merges, const std::string& name);

  // Appends the tokens of `word`, which is shorter than 2^31 bytes.
  void encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& out) const;

 private:
  struct Slot {
    std::uint64_t pair = kFree;  // left << 32 | right
    std::uint32_t rank = 0;
    std::int32_t result = -1;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  enum Whole : std::uint8_t { kUnknown = 0, kYes = 1, kNo = 2 };

  const Slot* find(std::int32_t left, std::int32_t right) const;
  void insert(const Merge& merge, std::uint32_t rank);
  void propose(Scratch& s, std::int32_t left) const;
  void merge_all(std::string_view word, Scratch& s) const;

  const Vocab& vocab_;
  std::int32_t byte_token_[256];
  std::vector<Slot> slots_;  // open addressing, a power of two
  // Every thread computes the same answer, so the race to write it is harmless.
  std::unique_ptr<std::atomic<std::uint8_t>[]> whole_;
};

}  // namespace v4i::tokenizer
