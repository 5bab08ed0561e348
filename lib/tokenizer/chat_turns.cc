// Merging turns and sorting tool results, as the published encoders do.
#include "lib/tokenizer/chat_turns.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <unordered_map>

namespace v4i::tokenizer {

std::vector<Message> merge_turns(std::vector<Message> in, ChatFamily family) {
  std::vector<Message> out;
  for (Message& m : in) {
    const bool tool = m.role == Role::kTool;
    if (tool || m.role == Role::kUser) {
      if (!out.empty() && out.back().role == Role::kUser && (tool || out.back().task.empty())) {
        std::move(m.blocks.begin(), m.blocks.end(), std::back_inserter(out.back().blocks));
        continue;
      }
      if (tool) m.task.clear();
      if (tool || family != ChatFamily::kV41) m.tools.clear();  // V4 forgets them: no effect
      m.role = Role::kUser;
    }
    out.push_back(std::move(m));
  }
  return out;
}

void sort_tool_results(std::vector<Message>& messages) {
  std::unordered_map<std::string, int> order;
  const auto rank = [&order](const ContentBlock& b) {
    const auto it = order.find(b.tool_call_id);
    return it == order.end() ? 0 : it->second;
  };
  for (Message& m : messages) {
    if (m.role == Role::kAssistant && !m.tool_calls.empty()) {
      order.clear();
      for (std::size_t i = 0; i < m.tool_calls.size(); ++i)
        if (!m.tool_calls[i].id.empty()) order[m.tool_calls[i].id] = static_cast<int>(i);
    }
    if (m.role != Role::kUser || order.empty()) continue;
    std::vector<ContentBlock> results;
    for (ContentBlock& b : m.blocks)
      if (b.tool_result) results.push_back(b);
    std::stable_sort(results.begin(), results.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    std::size_t next = 0;
    for (ContentBlock& b : m.blocks)
      if (b.tool_result) b = std::move(results[next++]);
  }
}

}  // namespace v4i::tokenizer
