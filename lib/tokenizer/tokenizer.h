// Tokenizer: text <-> token ids, from a Hugging Face tokenizer.json.
//
// Byte-level BPE with the pre-tokenizer of DeepSeek V3 / V4 / V4.1.  Ids are those of
// Hugging Face `tokenizers`; unlike there, any bytes are accepted and
// decode(encode(x)) == x for all of them.
//
// Special tokens are cut out of text only where the caller says the text may hold them:
// text typed by a user never becomes one (see lib/tokenizer/chat.h).
//
// Immutable after construction; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/added_tokens.h"
#include "lib/tokenizer/bpe.h"
#include "lib/tokenizer/unicode/char_class.h"
#include "lib/tokenizer/vocab.h"

namespace v4i::tokenizer {

class Tokenizer {
 public:
  static constexpr std::size_t kMaxFileBytes = 64u << 20;

  // Error(kIo): unreadable; kFormat: not a tokenizer.json, one sentence; kUnsupported: a
  // good one of another kind, naming what is different.
  static std::shared_ptr<const Tokenizer> open(const std::string& path);
  static std::shared_ptr<const Tokenizer> from_json(const std::string& text,
                                                    const std::string& name);

  // Appends to `out`.  parse_special: added tokens written in `text` become their ids.
  // Error(kInvalid) from 2 GiB of text on.
  void encode(std::string_view text, bool parse_special, std::vector<std::int32_t>& out) const;
  // The same with added tokens recognised inside `trusted` only: ascending, disjoint
  // ranges of `text`.  What is next to each other is encoded together, trusted or not.
  void encode(std::string_view text, const std::vector<Range>& trusted,
              std::vector<std::int32_t>& out) const;

  // Error(kInvalid) for an id outside [0, size()).  Bytes, not text: a token may end
  // inside a character (see Utf8Stream).
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;
  std::string_view token_bytes(std::int32_t id) const;  // empty for an unused id

  std::int32_t size() const { return vocab_.size(); }  // one more than the largest id
  bool has(std::int32_t id) const { return vocab_.has(id); }
  // A token that is cut out of text, not one that byte-level BPE makes.
  bool is_added(std::int32_t id) const { return vocab_.has(id) && !vocab_.searchable(id); }
  const std::string& name() const { return name_; }  // for error messages

  std::int32_t find_special(std::string_view text) const { return added_.find(text); }  // or -1
  bool is_special(std::int32_t id) const { return added_.is_special(id); }
  // -1 where the tokenizer has none.
  std::int32_t bos() const { return bos_; }
  std::int32_t eos() const { return eos_; }
  std::int32_t user() const { return user_; }
  std::int32_t assistant() const { return assistant_; }
  std::int32_t think() const { return think_; }
  std::int32_t end_think() const { return end_think_; }

 private:
  Tokenizer(std::string name, Vocab vocab, const std::vector<Merge>& merges,
            std::vector<AddedToken> added);
  void encode_plain(std::string_view text, Bpe::Scratch& scratch,
                    std::vector<std::int32_t>& out) const;

  std::string name_;
  CharTable chars_;
  Vocab vocab_;
  Bpe bpe_;
  AddedTokens added_;
  std::int32_t bos_, eos_, user_, assistant_, think_, end_think_;
};

// Texts of the special tokens of the family (U+FF5C bars, U+2581 underscores).
inline constexpr char kBosToken[] =
    "<\xef\xbd\x9c"
    "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>";
inline constexpr char kEosToken[] =
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>";
inline constexpr char kUserToken[] = "<\xef\xbd\x9cUser\xef\xbd\x9c>";
inline constexpr char kAssistantToken[] =
    "<\xef\xbd\x9c"
    "Assistant\xef\xbd\x9c>";
inline constexpr char kThinkToken[] = "<think>";
inline constexpr char kEndThinkToken[] = "</think>";
inline constexpr char kDsmlToken[] =
    "\xef\xbd\x9c"
    "DSML\xef\xbd\x9c";

}  // namespace v4i::tokenizer
