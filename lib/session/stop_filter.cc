// See stop_filter.h.  What is held is shorter than the longest stop string.
#include "lib/session/stop_filter.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/tokenizer/utf8.h"

namespace v4i::session {

StopFilter::StopFilter(const std::vector<std::string>& stop) : stop_(stop) {
  for (const auto& s : stop) {
    if (s.empty()) fail(Code::kInvalid, "a stop string is empty, it would stop everything");
    if (!tokenizer::is_utf8(s)) fail(Code::kInvalid, "a stop string is not UTF-8");
  }
}

// Length of the longest end of held_ that begins a stop string.
std::size_t StopFilter::undecided() const {
  std::size_t longest = 0;
  for (const auto& s : stop_) {
    std::size_t n = std::min(s.size() - 1, held_.size());
    while (n > longest && held_.compare(held_.size() - n, n, s, 0, n) != 0) --n;
    longest = std::max(longest, n);
  }
  return longest;
}

std::string_view StopFilter::push(std::string_view text) {
  shown_.clear();
  if (matched_) return shown_;
  held_ += text;
  std::size_t at = 0, end = std::string::npos;
  for (const auto& s : stop_) {
    const std::size_t found = held_.find(s);
    if (found == std::string::npos) continue;
    if (std::pair(found + s.size(), found) < std::pair(end, at)) at = found, end = found + s.size();
  }
  matched_ = end != std::string::npos;
  const std::size_t n = matched_ ? at : held_.size() - undecided();
  shown_.assign(held_, 0, n);
  held_.erase(0, matched_ ? held_.size() : n);
  return shown_;
}

std::string_view StopFilter::flush() {
  shown_ = held_;
  held_.clear();
  return shown_;
}

}  // namespace v4i::session
