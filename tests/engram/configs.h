// Engram's numbers of the released model and of the oracle's tiny one.
#pragma once

#include "lib/model/config.h"
#include "tests/support/v41_config.h"

namespace v4i::test {

inline model::EngramConfig released_engram() {
  return model::parse_config(v41_config(), "config.json").engram;
}

// 333 classes, of which 1 is the pad class.
inline model::EngramConfig tiny_engram() {
  model::EngramConfig c;
  c.layers = {1, 4};
  c.rows = {1362, 1552};
  c.max_ngram = 4;
  c.heads = 2;
  c.head_dim = 64;
  c.bucket_rows = 200;
  c.classes = 333;
  c.pad_token = 2;
  return c;
}

}  // namespace v4i::test
