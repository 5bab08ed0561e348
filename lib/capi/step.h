// session::Step -> v4i_step, shared by step, generate and step_many.
#pragma once

#include "include/v4infer/v4infer.h"
#include "lib/capi/handles.h"
#include "lib/session/session.h"

namespace v4i::capi {

// Pointers in the result lie in the session, until the next call on it.
v4i_step step_struct(const session::Step& step);

}  // namespace v4i::capi
