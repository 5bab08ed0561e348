// Session::generate: a loop over step() that watches for stop strings and limits.
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
  for (std::int64_t n = 1; end == Finish::kNone; ++n) {
    Step s = step(run);
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
  }
  // An EOS behind a stop string's last character still ends the timeline.
  if (finish_ != Finish::kEos) finish_ = end;
  if (finish != nullptr) *finish = end;
  return text;
}

}  // namespace v4i::session
