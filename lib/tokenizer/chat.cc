// render_chat: prepare, write, tokenize.
#include "lib/tokenizer/chat.h"

#include <utility>

#include "lib/base/error.h"
#include "lib/tokenizer/chat_renderer.h"
#include "lib/tokenizer/chat_turns.h"

namespace v4i::tokenizer {

DsmlTags dsml_tags(ChatFamily family) {
  if (family == ChatFamily::kV41) return {" calls", " invoke", " parameter"};
  return {"tool_calls", "invoke", "parameter"};
}

namespace {

void number_images(std::vector<Message>& messages) {
  std::uint32_t n = 0;
  for (Message& m : messages)
    for (ContentBlock& b : m.blocks)
      for (ContentPart& p : b.parts)
        if (p.image) p.number = n++;
}

}  // namespace

RenderedChat render_chat(const Tokenizer& tokenizer, std::vector<Message> messages,
                         const ChatOptions& options) {
  number_images(messages);
  messages = merge_turns(std::move(messages), options.family);
  sort_tool_results(messages);
  ChatRenderer r(std::move(messages), options);
  r.render();
  for (const char* s : r.out.specials())
    if (tokenizer.find_special(s) < 0)
      fail(Code::kUnsupported, "{} has no token \"{}\", which this chat format needs",
           tokenizer.name(), s);
  RenderedChat result;
  result.text = r.out.text();
  result.images = std::move(r.images);
  tokenizer.encode(result.text, r.out.trusted(), result.ids);
  return result;
}

RenderedChat render_chat(const Tokenizer& tokenizer, std::string_view json,
                         const ChatOptions& options) {
  return render_chat(tokenizer, parse_messages(json), options);
}

}  // namespace v4i::tokenizer
