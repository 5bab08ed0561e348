// Vector files of make_golden.py: texts and the ids Hugging Face `tokenizers` gives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/error.h"

namespace v4i::tokenizer {

struct Vector {
  bool cut = false;  // added tokens are cut out of the text
  std::string text;
  std::vector<std::int32_t> ids;
};

class VectorFile {
 public:
  explicit VectorFile(std::string bytes) : bytes_(std::move(bytes)) {
    if (bytes_.substr(0, 6) != "V4TV1\n") fail(Code::kFormat, "not a vector file");
    pos_ = 6;
    left_ = number();
  }
  bool next(Vector& v) {
    if (left_ == 0) return false;
    --left_;
    v.cut = number() != 0;
    const std::size_t size = number();
    v.text = bytes_.substr(pos_, size);
    pos_ += size;
    v.ids.resize(number());
    for (std::int32_t& id : v.ids) id = static_cast<std::int32_t>(number());
    return true;
  }

 private:
  std::uint64_t number() {
    std::uint64_t n = 0;
    for (int shift = 0;; shift += 7) {
      const auto b = static_cast<std::uint8_t>(bytes_.at(pos_++));
      n |= static_cast<std::uint64_t>(b & 127) << shift;
      if (b < 128) return n;
    }
  }
  std::string bytes_;
  std::size_t pos_ = 0;
  std::uint64_t left_ = 0;
};

// A file of tests/tokenizer/golden.
inline std::string golden(const std::string& name) {
  return std::string(V4I_SOURCE_DIR) + "/tests/tokenizer/golden/" + name;
}

}  // namespace v4i::tokenizer
