// StopFilter: lets text through up to the first stop string.
//
// Text that may be the beginning of a stop string is held back until that is
// decided, so nothing of a stop string is ever shown.  The stop string that is
// complete first counts, and of two that end together the longer: what is shown
// does not depend on the pieces the text came in.
//
// One thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace v4i::session {

class StopFilter {
 public:
  // Error(kInvalid) for an empty stop string and one that is not UTF-8 (matches of
  // UTF-8 in UTF-8 never cut a character).  The strings must outlive the filter.
  explicit StopFilter(const std::vector<std::string>& stop);

  // Takes the next text and returns what can be shown now (valid until the next
  // call).  After matched() nothing is let through.
  std::string_view push(std::string_view text);
  // No more text will come: returns what was held back.
  std::string_view flush();
  bool matched() const { return matched_; }

 private:
  std::size_t undecided() const;

  const std::vector<std::string>& stop_;
  std::string held_, shown_;
  bool matched_ = false;
};

}  // namespace v4i::session
