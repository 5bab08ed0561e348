// Tokenizer: added tokens are cut out, the rest goes word by word through BPE.
#include "lib/tokenizer/tokenizer.h"

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/tokenizer/words.h"

namespace v4i::tokenizer {

Tokenizer::Tokenizer(std::string name, Vocab vocab, const std::vector<Merge>& merges,
                     std::vector<AddedToken> added)
    : name_(std::move(name)),
      vocab_(std::move(vocab)),
      bpe_(vocab_, merges, name_),
      added_(std::move(added)),
      bos_(find_special(kBosToken)),
      eos_(find_special(kEosToken)),
      user_(find_special(kUserToken)),
      assistant_(find_special(kAssistantToken)),
      think_(find_special(kThinkToken)),
      end_think_(find_special(kEndThinkToken)) {}

std::shared_ptr<const Tokenizer> Tokenizer::open(const std::string& path) {
  return from_json(read_text_file(path, kMaxFileBytes), path);
}

void Tokenizer::encode(std::string_view text, bool parse_special,
                       std::vector<std::int32_t>& out) const {
  std::vector<Range> trusted;
  if (parse_special) trusted.push_back({0, text.size()});
  encode(text, trusted, out);
}

void Tokenizer::encode(std::string_view text, const std::vector<Range>& trusted,
                       std::vector<std::int32_t>& out) const {
  if (text.size() >= std::size_t{1} << 31)
    fail(Code::kInvalid, "{} bytes of text to tokenize at once; less than 2 GiB are wanted",
         text.size());
  Bpe::Scratch scratch;
  std::size_t from = 0;
  for (const AddedTokens::Cut& c : added_.cut(text, trusted)) {
    encode_plain(text.substr(from, c.begin - from), scratch, out);
    out.push_back(c.id);
    from = c.end;
  }
  encode_plain(text.substr(from), scratch, out);
}

void Tokenizer::encode_plain(std::string_view text, Bpe::Scratch& scratch,
                             std::vector<std::int32_t>& out) const {
  WordScanner words(chars_, text);
  std::string_view word;
  while (words.next(word)) bpe_.encode(word, scratch, out);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    const std::string_view bytes = token_bytes(id);
    if (!skip_special || !is_special(id)) out.append(bytes);
  }
  return out;
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  if (id < 0 || id >= size())
    fail(Code::kInvalid, "token id {} is not in the vocabulary of {} (0 to {})", id, name_,
         size() - 1);
  return vocab_.bytes(id);
}

}  // namespace v4i::tokenizer
