// tokenizer.json -> Tokenizer.  Hostile input: every field is checked before use.
#include <charconv>
#include <unordered_map>

#include "lib/base/error.h"
#include "lib/tokenizer/byte_alphabet.h"
#include "lib/tokenizer/json_value.h"
#include "lib/tokenizer/tokenizer.h"
#include "lib/tokenizer/utf8.h"

namespace v4i::tokenizer {
namespace {

// The three patterns that words.cc implements, as they stand in the file.
constexpr const char* kPatterns[] = {
    "\\p{N}{1,3}",
    "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
};
constexpr std::size_t kSplits = 3;

// From characters of the alphabet back to bytes.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    for (std::uint32_t b = 0; b < 256; ++b)
      byte_of_.emplace(byte_character(static_cast<std::uint8_t>(b)), static_cast<char>(b));
  }
  // False when `text` holds a character outside the alphabet.
  bool to_bytes(std::string_view text, std::string& out) const {
    out.clear();
    for (std::size_t i = 0; i < text.size();) {
      const Decoded d = decode_utf8(text.substr(i));
      const auto it = d.valid ? byte_of_.find(d.code_point) : byte_of_.end();
      if (it == byte_of_.end()) return false;
      out += it->second;
      i += d.size;
    }
    return true;
  }

 private:
  std::unordered_map<std::uint32_t, char> byte_of_;
};

// Reads one file; all error sentences begin with its name.
class Reader {
 public:
  Reader(const JsonValue& root, const std::string& name) : root_(root), name_(name) {}

  void check_kind() const;
  void read_added();
  void read_vocab();
  std::vector<Merge> read_merges() const;

  Vocab vocab;
  std::vector<AddedToken> added;

 private:
  using Kind = JsonValue::Kind;
  const JsonValue& want(const JsonValue& parent, const char* path, const char* key,
                        Kind kind) const;
  bool is_true(const JsonValue& parent, const char* key) const;
  std::int32_t read_id(const JsonValue& value, const std::string& token) const;
  void check_pre_tokenizer() const;
  void check_model(const JsonValue& model) const;
  AddedToken read_added_token(const JsonValue& entry) const;
  Merge read_merge(const JsonValue& entry, std::size_t index) const;
  std::int32_t merge_part(std::string_view text, std::size_t index) const;
  template <class... Args>
  [[noreturn]] void refuse(Code code, fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(code, name_ + ": " + fmt::format(format, std::forward<Args>(args)...));
  }

  const JsonValue& root_;
  const std::string& name_;
  ByteAlphabet alphabet_;
  std::unordered_map<std::string_view, std::int32_t> ids_;  // vocabulary text, as in the file
};

const JsonValue& Reader::want(const JsonValue& parent, const char* path, const char* key,
                              Kind kind) const {
  const JsonValue* v = parent.find(key);
  if (v == nullptr) refuse(Code::kFormat, "{}{} is missing, wanted {}", path, key, kind_name(kind));
  if (v->kind != kind)
    refuse(Code::kFormat, "{}{} is {}, wanted {}", path, key, kind_name(v->kind), kind_name(kind));
  return *v;
}

bool Reader::is_true(const JsonValue& parent, const char* key) const {
  const JsonValue* v = parent.find(key);
  if (v == nullptr || v->is_null() || v->kind == Kind::kFalse) return false;
  if (v->kind != Kind::kTrue)
    refuse(Code::kFormat, "{} is {}, wanted a boolean", key, kind_name(v->kind));
  return true;
}

void Reader::check_kind() const {
  if (!root_.is_object())
    refuse(Code::kFormat, "the file is {}, wanted an object", kind_name(root_.kind));
  const JsonValue* normalizer = root_.find("normalizer");
  if (normalizer != nullptr && !normalizer->is_null()) {
    const JsonValue* list = normalizer->find("normalizers");
    if (list == nullptr || !list->is_array() || !list->items.empty())
      refuse(Code::kUnsupported, "normalizer is not empty; DeepSeek tokenizers have none");
  }
  check_model(want(root_, "", "model", Kind::kObject));
  check_pre_tokenizer();
  const JsonValue* decoder = root_.find("decoder");
  if (decoder != nullptr && !decoder->is_null() &&
      want(*decoder, "decoder.", "type", Kind::kString).text != "ByteLevel")
    refuse(Code::kUnsupported, "decoder.type is not ByteLevel");
}

void Reader::check_model(const JsonValue& model) const {
  const JsonValue* type = model.find("type");
  if (type != nullptr && type->text != "BPE")
    refuse(Code::kUnsupported, "model.type is \"{}\", only BPE is supported", type->text);
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                          "byte_fallback", "ignore_merges"}) {
    const JsonValue* v = model.find(key);
    if (v != nullptr && v->truthy())
      refuse(Code::kUnsupported, "model.{} is set; byte-level BPE of this family has none", key);
  }
}

void Reader::check_pre_tokenizer() const {
  const JsonValue& pre = want(root_, "", "pre_tokenizer", Kind::kObject);
  const std::string& type = want(pre, "pre_tokenizer.", "type", Kind::kString).text;
  if (type != "Sequence")
    refuse(Code::kUnsupported,
           "pre_tokenizer is {}; only the sequence of DeepSeek V3, V4 and V4.1 is supported", type);
  const auto& steps = want(pre, "pre_tokenizer.", "pretokenizers", Kind::kArray).items;
  if (steps.size() != kSplits + 1)
    refuse(Code::kUnsupported, "pre_tokenizer has {} steps, wanted {}: three Split, one ByteLevel",
           steps.size(), kSplits + 1);
  for (std::size_t i = 0; i < kSplits; ++i) {
    const JsonValue& s = steps[i];
    if (want(s, "pre_tokenizer step ", "type", Kind::kString).text != "Split")
      refuse(Code::kUnsupported, "pre_tokenizer step {} is not a Split", i);
    const JsonValue& pattern = want(s, "pre_tokenizer step ", "pattern", Kind::kObject);
    const JsonValue* regex = pattern.find("Regex");
    if (regex == nullptr || regex->text != kPatterns[i])
      refuse(Code::kUnsupported, "pre_tokenizer step {} has the pattern {}, supported is {}", i,
             python_dumps(pattern).substr(0, 300), kPatterns[i]);
    if (want(s, "pre_tokenizer step ", "behavior", Kind::kString).text != "Isolated" ||
        is_true(s, "invert"))
      refuse(Code::kUnsupported, "pre_tokenizer step {} does not isolate its matches", i);
  }
  const JsonValue& last = steps[kSplits];
  if (want(last, "pre_tokenizer step ", "type", Kind::kString).text != "ByteLevel" ||
      is_true(last, "add_prefix_space") || is_true(last, "use_regex"))
    refuse(Code::kUnsupported,
           "the last pre_tokenizer step is not ByteLevel without prefix space and regex");
}

std::int32_t Reader::read_id(const JsonValue& value, const std::string& token) const {
  std::int32_t id = -1;
  const char* end = value.text.data() + value.text.size();
  if (value.kind == Kind::kInteger) {
    const auto r = std::from_chars(value.text.data(), end, id);
    if (r.ec == std::errc() && r.ptr == end && id >= 0 && id <= Vocab::kMaxId) return id;
  }
  refuse(Code::kFormat, "token \"{}\" has the id {}, wanted an integer from 0 to {}",
         token.substr(0, 100), python_dumps(value).substr(0, 100), Vocab::kMaxId);
}

AddedToken Reader::read_added_token(const JsonValue& entry) const {
  AddedToken t;
  t.text = want(entry, "added_tokens entry: ", "content", Kind::kString).text;
  t.id = read_id(want(entry, "added_tokens entry: ", "id", Kind::kInteger), t.text);
  t.special = is_true(entry, "special");
  t.normalized = is_true(entry, "normalized");
  if (t.text.empty() || t.text.size() > AddedTokens::kMaxBytes)
    refuse(Code::kFormat, "added token {} is {} bytes long, wanted 1 to {}", t.id, t.text.size(),
           AddedTokens::kMaxBytes);
  for (const char* key : {"single_word", "lstrip", "rstrip"})
    if (is_true(entry, key))
      refuse(Code::kUnsupported, "added token \"{}\" has {} set", t.text, key);
  return t;
}

void Reader::read_added() {
  const JsonValue* list = root_.find("added_tokens");
  if (list == nullptr || list->is_null()) return;
  if (!list->is_array())
    refuse(Code::kFormat, "added_tokens is {}, wanted an array", kind_name(list->kind));
  std::unordered_map<std::string, bool> seen;
  for (const JsonValue& entry : list->items) {
    AddedToken t = read_added_token(entry);
    if (!seen.emplace(t.text, true).second)
      refuse(Code::kFormat, "added token \"{}\" is listed twice", t.text);
    if (vocab.has(t.id))
      refuse(Code::kFormat, "added tokens \"{}\" and \"{}\" share the id {}", vocab.bytes(t.id),
             t.text, t.id);
    vocab.add(t.id, t.text, false);
    added.push_back(std::move(t));
  }
}

void Reader::read_vocab() {
  const JsonValue& model = *root_.find("model");
  std::unordered_map<std::string_view, std::int32_t> added_ids;
  for (const AddedToken& t : added) added_ids.emplace(t.text, t.id);
  std::string bytes;
  for (const auto& [text, value] : want(model, "model.", "vocab", Kind::kObject).members) {
    const std::int32_t id = read_id(value, text);
    ids_.emplace(text, id);
    const auto same = added_ids.find(text);
    if (same != added_ids.end()) {
      if (same->second != id)
        refuse(Code::kFormat, "token \"{}\" has the id {} in model.vocab and {} in added_tokens",
               text, id, same->second);
      continue;
    }
    if (vocab.has(id))
      refuse(Code::kFormat, "id {} belongs to \"{}\" and to \"{}\"", id, vocab.bytes(id), text);
    const bool mapped = !text.empty() && alphabet_.to_bytes(text, bytes);
    vocab.add(id, mapped ? bytes : text, mapped);
  }
  vocab.build_index();
}

std::int32_t Reader::merge_part(std::string_view text, std::size_t index) const {
  const auto it = ids_.find(text);
  if (it == ids_.end())
    refuse(Code::kFormat, "merge {} names \"{}\", which is not in the vocabulary", index,
           text.substr(0, 100));
  return it->second;
}

Merge Reader::read_merge(const JsonValue& entry, std::size_t index) const {
  std::string left, right;
  if (entry.is_string()) {
    const std::size_t space = entry.text.find(' ');
    if (space == std::string::npos || entry.text.find(' ', space + 1) != std::string::npos)
      refuse(Code::kFormat, "merge {} is \"{}\", wanted two tokens and one space", index,
             entry.text.substr(0, 100));
    left = entry.text.substr(0, space);
    right = entry.text.substr(space + 1);
  } else if (entry.is_array() && entry.items.size() == 2 && entry.items[0].is_string() &&
             entry.items[1].is_string()) {
    left = entry.items[0].text;
    right = entry.items[1].text;
  } else {
    refuse(Code::kFormat, "merge {} is {}, wanted \"left right\" or [\"left\", \"right\"]", index,
           python_dumps(entry).substr(0, 100));
  }
  const Merge m = {merge_part(left, index), merge_part(right, index),
                   merge_part(left + right, index)};
  if (!vocab.searchable(m.left) || !vocab.searchable(m.right) || !vocab.searchable(m.result))
    refuse(Code::kFormat,
           "merge {} (\"{}\" \"{}\") involves an added token or one outside the byte alphabet",
           index, left, right);
  return m;
}

std::vector<Merge> Reader::read_merges() const {
  const auto& list = want(*root_.find("model"), "model.", "merges", Kind::kArray).items;
  std::vector<Merge> out;
  out.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(read_merge(list[i], i));
  return out;
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::from_json(const std::string& text,
                                                      const std::string& name) {
  // The published file holds 266 thousand values, five levels deep.
  const JsonValue root = parse_json(text, name, {.depth = 16, .values = 1u << 22});
  Reader reader(root, name);
  reader.check_kind();
  reader.read_added();
  reader.read_vocab();
  const std::vector<Merge> merges = reader.read_merges();
  return std::shared_ptr<const Tokenizer>(
      new Tokenizer(name, std::move(reader.vocab), merges, std::move(reader.added)));
}

}  // namespace v4i::tokenizer
