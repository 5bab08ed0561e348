// The two preparations of a conversation that both families share.
#pragma once

#include <vector>

#include "lib/tokenizer/chat.h"

namespace v4i::tokenizer {

// Tool results become blocks of a user turn; user turns in a row become one.  What is
// merged in loses its own task; a turn with a task takes tool results but no more text.
// Afterwards no message has the role tool.
std::vector<Message> merge_turns(std::vector<Message> messages, ChatFamily family);

// Results in the order of the calls of the last assistant message that made any.
// REQUIRES: merged.
void sort_tool_results(std::vector<Message>& messages);

}  // namespace v4i::tokenizer
