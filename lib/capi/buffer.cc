// Section 2 of v4infer.h: buffers and cancel tokens.
#include "lib/capi/boundary.h"
#include "lib/capi/handles.h"

using namespace v4i;
using namespace v4i::capi;

extern "C" {

const void* v4i_buffer_data(const v4i_buffer* b) {
  return b == nullptr ? nullptr : b->bytes.data();
}
size_t v4i_buffer_size(const v4i_buffer* b) { return b == nullptr ? 0 : b->bytes.size(); }
void v4i_buffer_release(v4i_buffer* b) { delete b; }

v4i_status v4i_cancel_create(v4i_cancel** out, v4i_error** err) {
  return guard(err, [&] {
    v4i_cancel*& to = not_null(out, "out");
    to = new v4i_cancel{std::make_shared<CancelFlag>()};
  });
}

// Callable from a signal handler: one relaxed store.
void v4i_cancel_signal(v4i_cancel* c) {
  if (c != nullptr) c->flag->signal();
}
void v4i_cancel_reset(v4i_cancel* c) {
  if (c != nullptr) c->flag->reset();
}
void v4i_cancel_release(v4i_cancel* c) { delete c; }

}  // extern "C"
