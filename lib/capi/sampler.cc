// Section 9 of v4infer.h: samplers; grammars are not built yet.
#include "lib/sampling/sampler.h"

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"

namespace v4i::capi {
namespace {

// Zero means the model's recommendation, which for this family is temperature 1 and
// everything else off.  The ranges are checked by sampling::Sampler.
sampling::Options read_sampler_options(const v4i_sampler_options& o) {
  check_range(o.greedy, 0, 1, "v4i_sampler_options.greedy");
  sampling::Options out;
  out.greedy = o.greedy != 0;
  if (o.temperature != 0) out.temperature = o.temperature;
  if (o.top_p != 0) out.top_p = o.top_p;
  if (o.min_p != 0) out.min_p = o.min_p;
  if (o.repeat_penalty != 0) out.repeat_penalty = o.repeat_penalty;
  if (o.top_k != 0) out.top_k = o.top_k;
  if (o.repeat_window != 0) out.repeat_window = o.repeat_window;
  return out;
}

v4i_sampler& sampler_of(v4i_sampler* p) {
  v4i_sampler& out = not_null(p, "the sampler");
  check_callable(*out.model->engine);
  return out;
}

sampling::Bias read_bias(const v4i_logit_bias* b, std::size_t n, std::int64_t vocab) {
  if (n > 0) not_null(b, "the bias array");
  sampling::Bias out;
  for (std::size_t i = 0; i < n; ++i) {
    if (b[i].token < 0 || b[i].token >= vocab)
      fail(Code::kInvalid, "bias {}: token {} is not in [0, {})", i, b[i].token, vocab);
    out.emplace_back(b[i].token, b[i].bias);
  }
  return out;
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_sampler_create(const v4i_model* m, const v4i_sampler_options* o, v4i_sampler** out,
                              v4i_error** err) {
  return guard(err, [&] {
    model_of(m);
    v4i_sampler*& to = not_null(out, "out");
    const auto options = read_sampler_options(read_optional(o, "v4i_sampler_options"));
    to = new v4i_sampler{m->state, std::make_shared<sampling::Sampler>(options)};
  });
}

void v4i_sampler_release(v4i_sampler* p) {
  if (p != nullptr && p->model->engine->same_process()) delete p;
}

v4i_status v4i_sampler_set_bias(v4i_sampler* p, const v4i_logit_bias* b, size_t n,
                                v4i_error** err) {
  return guard(err, [&] {
    v4i_sampler& sampler = sampler_of(p);
    sampler.sampler->set_bias(read_bias(b, n, sampler.model->context->vocab()));
  });
}

v4i_status v4i_grammar_compile(const v4i_model* m, int32_t, const char*, size_t, v4i_grammar**,
                               v4i_error** err) {
  return guard(err, [&] {
    model_of(m);
    fail(Code::kUnsupported, "grammars are not part of this build");
  });
}

void v4i_grammar_release(v4i_grammar*) {}  // none exists

v4i_status v4i_session_set_sampler(v4i_session* s, v4i_sampler* p, v4i_grammar* g,
                                   v4i_error** err) {
  return guard(err, [&] {
    SessionCall call(s);
    if (g != nullptr) fail(Code::kUnsupported, "grammars are not part of this build");
    if (p == nullptr) {
      call->set_sampler(std::make_shared<sampling::Sampler>(sampling::Options{}));
      return;
    }
    v4i_sampler& sampler = sampler_of(p);
    if (sampler.model != call.state().model)
      fail(Code::kInvalid, "the sampler is of another model than the session");
    call->set_sampler(sampler.sampler);
  });
}

}  // extern "C"
