// ClassMap: checks, and the list in engram_token_map.json.
#include "lib/engram/class_map.h"

#include <charconv>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace v4i::engram {

namespace {

constexpr const char* kFile = "engram_token_map.json";
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;  // 14 bytes for each of 2^22 ids

// A JSON list of integers and nothing else.
class ListReader {
 public:
  ListReader(const std::string& text, const std::string& name) : text_(text), name_(name) {}

  std::vector<std::int32_t> read() {
    std::vector<std::int32_t> out;
    want('[', "the beginning of a list of classes");
    if (!take(']')) do
        out.push_back(integer());
      while (take_or_end());
    skip();
    if (at_ != text_.size()) refuse("the end of the file");
    return out;
  }

 private:
  void skip() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string::npos)
      ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void want(char c, const char* what) {
    if (!take(c)) refuse(what);
  }
  bool take_or_end() {
    if (take(',')) return true;
    want(']', "',' or ']'");
    return false;
  }
  std::int32_t integer() {
    skip();
    std::int32_t value = 0;
    const auto r = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (r.ec != std::errc()) refuse("a class, an integer of 32 bits");
    at_ = static_cast<std::size_t>(r.ptr - text_.data());
    return value;
  }
  [[noreturn]] void refuse(const char* wanted) const {
    std::string found = "the end";
    if (at_ < text_.size()) {
      const char c = text_[at_];
      found = c > 0x20 && c < 0x7f ? fmt::format("'{}'", c)
                                   : fmt::format("byte {:#04x}", static_cast<unsigned char>(c));
    }
    fail(Code::kFormat, "{}: found {} at byte {}, expected {}", name_, found, at_, wanted);
  }

  const std::string& text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

}  // namespace

ClassMap::ClassMap(std::vector<std::int32_t> classes, const model::Config& config,
                   const std::string& name)
    : classes_(std::move(classes)), count_(static_cast<std::int32_t>(config.engram.classes)) {
  if (static_cast<std::int64_t>(classes_.size()) != config.vocab)
    fail(Code::kFormat, "{}: has classes of {} token ids, expected vocab_size {}", name,
         classes_.size(), config.vocab);
  std::vector<bool> used(static_cast<std::size_t>(count_));
  std::int32_t different = 0;
  for (std::size_t id = 0; id < classes_.size(); ++id) {
    const std::int32_t c = classes_[id];
    if (c < 0 || c >= count_)
      fail(Code::kFormat,
           "{}: token id {} has class {}, expected 0 to {}: engram_compressed_vocab_size is {}",
           name, id, c, count_ - 1, count_);
    different += !used[static_cast<std::size_t>(c)];
    used[static_cast<std::size_t>(c)] = true;
  }
  if (different != count_)
    fail(Code::kFormat, "{}: has {} different classes, expected engram_compressed_vocab_size {}",
         name, different, count_);
  pad_ = of(config.engram.pad_token);
}

bool ClassMap::has_file(const std::string& folder) { return file_exists(join_path(folder, kFile)); }

ClassMap ClassMap::from_file(const std::string& folder, const model::Config& config) {
  const std::string path = join_path(folder, kFile);
  const std::string text = read_text_file(path, kMaxBytes);
  return ClassMap(ListReader(text, path).read(), config, path);
}

}  // namespace v4i::engram
