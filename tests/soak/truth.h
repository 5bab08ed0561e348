// Truth: what a model says behind every token of a few stories, as an engine without tiers says it.
//
// A story is made-up token ids; stories 2k and 2k + 1 begin alike, so that sessions share blocks.
// It is computed once, kept in a file, and mapped by the soak, whose memory it does not count in.
#pragma once

#include <cstdint>
#include <string>
#include <v4infer/session.hpp>

namespace v4i::soak {

struct Said {
  std::int32_t next = 0;  // the most likely token
  std::uint32_t reserved = 0;
  std::uint64_t logits = 0;  // a hash of their bits
};

struct TruthHeader {
  std::uint64_t magic = 0;
  std::int64_t stories = 0, tokens = 0;
  std::uint64_t digest = 0;  // of the model
};

class Truth {
 public:
  // Makes the file if it is not there, or of other stories or another model.
  static void make(const std::string& model, const std::string& file, int stories, int tokens);
  explicit Truth(const std::string& file);

  int stories() const { return static_cast<int>(header_->stories); }
  int tokens() const { return static_cast<int>(header_->tokens); }
  const std::int32_t* story(int s) const { return ids_ + s * header_->tokens; }
  // After `length` tokens of story s, length >= 1.
  const Said& after(int s, std::int64_t length) const {
    return said_[s * header_->tokens + length - 1];
  }

 private:
  const TruthHeader* header_ = nullptr;
  const std::int32_t* ids_ = nullptr;
  const Said* said_ = nullptr;
};

std::uint64_t hash_of(const float* logits, std::size_t n);

[[noreturn]] void give_up(const std::string& sentence);  // prints it, exit code 1
inline void must(const v4infer::Error& e, const char* what) {
  if (e) give_up(std::string(what) + ": " + e.message());
}
template <class T>
T must(v4infer::Result<T> r, const char* what) {
  must(r.error(), what);
  return *std::move(r);
}

}  // namespace v4i::soak
