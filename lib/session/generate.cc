// Session::generate: a loop over step() that watches for stop strings and limits.
#include <algorithm>

#include "lib/base/error.h"
#include "lib/session/session.h"
#include "lib/session/stop_filter.h"

namespace v4i::session {

std::string Session::generate(const GenerateOptions& options, const RunOptions& run,
                              Finish* finish) {
  if (options.max_tokens < 0)
    fail(Code::kInvalid, "max_tokens is {}, allowed is 0 (until the context is full) or more",
         options.max_tokens);
  StopFilter filter(options.stop);
  if (!options.stop.empty()) context_->tokenizer();  // says what is missing
  check_can_step();

  std::string text, piece;
  Finish end = Finish::kNone;
  std::int64_t n = 0;
  const OnToken on_token = [&](Step s) {
    ++n;
    piece = filter.push(s.text);
    if (filter.matched())
      end = Finish::kStop;
    else if (s.finish != Finish::kNone)
      end = s.finish;
    else if (n == options.max_tokens || size() >= options_.context_size)
      end = Finish::kLength;
    if (end == Finish::kEos || end == Finish::kLength) piece += filter.flush();
    text += piece;
    s.text = piece;
    s.finish = end;
    if (options.on_step && options.on_step(s) && end == Finish::kNone) end = Finish::kCancelled;
    return end != Finish::kNone;
  };
  while (end == Finish::kNone) {
    const std::int64_t most = run.max_tokens;
    step_some(run, options.max_tokens == 0 ? most : std::min(most, options.max_tokens - n),
              on_token);
  }
  // An EOS behind a stop string's last character still ends the timeline.
  if (finish_ != Finish::kEos) finish_ = end;
  if (finish != nullptr) *finish = end;
  return text;
}

}  // namespace v4i::session
