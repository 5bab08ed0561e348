// How the commands say which way of thinking a chat prompt asks for.
#pragma once

#include <string>

#include "common.h"

namespace cli {

struct ChatArgs {
  std::string think;  // empty = the model's default; off, on, low, high, max
  bool open_assistant = true;
};
void add_chat_args(CLI::App& command, ChatArgs& args);
v4i_chat_options chat_options(const ChatArgs& args);

}  // namespace cli
