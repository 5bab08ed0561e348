// Conversation: messages, and the session whose timeline they are.
//
// The messages are the truth: before an answer the whole prompt is rendered and the
// session synced to it, which keeps the longest prefix that is already computed.  Images are kept
// as their files' bytes, since they are handed over again each time.
#pragma once

#include <string>

#include "answer.h"
#include "common.h"
#include "image_file.h"
#include "render.h"

namespace cli {

class Conversation {
 public:
  Conversation(const Opened& opened, const SampleArgs& sample, const ChatArgs& chat,
               const std::string& system);

  // Shows pieces of reasoning, content and tool calls as they come.
  using Show = std::function<void(const Json& event)>;
  // `images` stand before the text.
  Answer ask(const std::string& text, const ImageFiles& images, bool bar, const Show& show);

  void save(const std::string& path);
  void load(const std::string& path);
  Conversation fork();
  void clear();  // keeps the system message

  ChatArgs& chat() { return chat_; }
  std::size_t turns() const;

 private:
  Conversation(const Conversation& o, v4infer::Session session);
  void set_sampler();
  void sync(const Json& messages, const ImageFiles& images, const v4i_chat_options& options);

  const Opened* opened_;
  SampleArgs sample_;
  ChatArgs chat_;
  Json messages_ = Json::array();
  ImageFiles images_;  // those of the messages, in their order
  v4infer::Session session_;
};

}  // namespace cli
