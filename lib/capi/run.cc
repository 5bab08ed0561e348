// Section 8 of v4infer.h: prefill, step, generate, eval.
#include <limits>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/capi/prompt.h"
#include "lib/capi/step.h"

namespace v4i::capi {

v4i_step step_struct(const session::Step& step) {
  auto out = zeroed<v4i_step>();
  out.struct_size = sizeof out;
  out.finish = static_cast<std::int32_t>(step.finish);
  out.tokens = step.tokens.data();
  out.token_count = step.tokens.size();
  out.text = step.text.data();
  out.text_len = step.text.size();
  out.logprob = step.logprob;
  out.drafted = step.drafted;
  out.accepted = step.accepted;
  return out;
}

namespace {

session::GenerateOptions read_generate_options(const v4i_generate_options& o, v4i_session* s,
                                               SessionCall& call) {
  if (o.max_tokens < 0)
    fail(Code::kInvalid, "v4i_generate_options.max_tokens is {}, allowed is 0 and above",
         o.max_tokens);
  session::GenerateOptions out;
  out.max_tokens = o.max_tokens;
  if (o.stop_count > 0) not_null(o.stop, "v4i_generate_options.stop");
  for (std::size_t i = 0; i < o.stop_count; ++i) {
    const char* text = &not_null(o.stop[i], "v4i_generate_options.stop[]");
    if (*text == 0) fail(Code::kInvalid, "v4i_generate_options.stop[{}] is empty", i);
    out.stop.emplace_back(text);
  }
  if (o.on_step != nullptr)
    out.on_step = [o, s, &call](const session::Step& step) {
      if (call.state().released.signalled()) return true;  // `s` is gone
      const v4i_step value = step_struct(step);
      bool stop = false;
      call.engine().gate.require([&] { stop = o.on_step(s, &value, o.on_step_user) != 0; });
      return stop;
    };
  return out;
}

// Of `tokens` rows of logits.
void check_room(const SessionCall& call, std::size_t tokens, std::size_t cap) {
  const auto vocab = static_cast<std::size_t>(call.model().context->model().config().vocab);
  if (tokens > std::numeric_limits<std::size_t>::max() / vocab || cap < tokens * vocab)
    fail(Code::kInvalid, "cap is {} floats, {} tokens of a vocabulary of {} need their product",
         cap, tokens, vocab);
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_session_prefill(v4i_session* s, const v4i_run_options* o, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const Run run = read_run_options(o, call);
    call->prefill(run.options);
  });
}

v4i_status v4i_session_step(v4i_session* s, const v4i_run_options* o, v4i_step* out,
                            v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const std::size_t theirs = checked_size(out, "v4i_step");
    const Run run = read_run_options(o, call);
    fill_struct(step_struct(call->step(run.options)), out, theirs);
  });
}

v4i_status v4i_session_generate(v4i_session* s, const v4i_generate_options* o, v4i_buffer** text,
                                int32_t* finish, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const auto given = read_optional(o, "v4i_generate_options");
    const Run run = read_run_options(given.run, call);
    const auto options = read_generate_options(given, s, call);
    auto buffer = std::make_unique<v4i_buffer>();
    session::Finish end = session::Finish::kNone;
    buffer->bytes = call->generate(options, run.options, &end);
    if (text != nullptr) *text = buffer.release();
    if (finish != nullptr) *finish = static_cast<std::int32_t>(end);
  });
}

v4i_status v4i_session_eval(v4i_session* s, const v4i_token* tokens, size_t n,
                            const v4i_run_options* o, float* logits, size_t cap, v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const auto ids = tokens_of(tokens, n);
    const Run run = read_run_options(o, call);
    check_room(call, n, cap);
    if (n > 0) not_null(logits, "logits");
    call->eval(ids, logits, run.options);
  });
}

v4i_status v4i_session_eval_media(v4i_session* s, const v4i_token* tokens, size_t n,
                                  const v4i_image* images, size_t image_count,
                                  const v4i_run_options* o, float* logits, size_t cap,
                                  v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    const Run run = read_run_options(o, call);
    const session::Prompt prompt =
        media_prompt(call.session(), tokens_of(tokens, n), images, image_count);
    check_room(call, prompt.tokens.size(), cap);
    if (n > 0) not_null(logits, "logits");
    call->eval_media(prompt, logits, run.options);
  });
}

}  // extern "C"
