// One answer, written while it is computed: prefill with a progress bar, then step
// by step until a finish, a limit or Ctrl-C.
#pragma once

#include <functional>
#include <string>

#include "common.h"

namespace cli {

struct Answer {
  std::string text;
  std::int32_t finish = V4I_FINISH_NONE;
  std::uint64_t tokens = 0;
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;
  std::uint64_t prefilled = 0;
  Hits hits;
  std::uint64_t drafted = 0, accepted = 0;
};

// `on_step` gets every piece of text as it comes.  `bar`: a progress bar on stderr
// while a long prompt is computed.
Answer write_answer(v4infer::Session& session, const SampleArgs& args, bool bar,
                    const std::function<void(const v4i_step&)>& on_step);

// "37 tokens, 12.3 tokens/s; prompt 512 tokens, 456 tokens/s"
std::string speed_text(const Answer& a);
Json speed_json(const Answer& a);

}  // namespace cli
