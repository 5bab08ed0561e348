// Folds: a code point without case, compatibility forms and combining marks.
//
// What NFKC, NFD, dropping general category M* and lower-casing each code point leave of a text is
// what they leave of its code points one by one: NFD of NFKC is NFKD, which decomposes code points
// alone, and reorders marks only.  Unicode 16.0; folds.cc is generated.
//
// Immutable after construction; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/tokenizer/unicode/char_class.h"

namespace v4i::tokenizer {

namespace unicode {
// Numbers of five bits a character: see make_folds.py.
extern const char kFoldRuns[];       // gap, (count - 1) * 6 + (stride - 1) * 3 + step, target
extern const char kFoldSequences[];  // gap, length, code points
}  // namespace unicode

class Folds {
 public:
  Folds();
  // Appends what is left of `code_point`, which may be nothing.
  void append(std::uint32_t code_point, std::u32string& out) const;

 private:
  // first + i * stride becomes target + i * step, for i of [0, count).
  struct Run {
    std::uint32_t first, count, stride, target, step;
  };
  struct Sequence {
    std::uint32_t code_point, begin, size;  // in pool_
  };
  bool append_run(std::uint32_t c, std::u32string& out) const;
  bool append_sequence(std::uint32_t c, std::u32string& out) const;

  CharTable chars_;
  std::vector<Run> runs_;            // ascending, none inside of another
  std::vector<Sequence> sequences_;  // ascending
  std::u32string pool_;
};

}  // namespace v4i::tokenizer
