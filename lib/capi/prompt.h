// Images of v4infer.h -> what a session takes.
#pragma once

#include <memory>
#include <span>

#include "include/v4infer/v4infer.h"
#include "lib/session/session.h"

namespace v4i::capi {

// Of pixels, an image file's bytes or patches.  Error(kUnsupported) where the model takes no
// images or the library does not read the format, kInvalid.
std::shared_ptr<session::Image> make_image(session::Session& s, const v4i_image& image);

// Tokens with their images put in; an error of an image says which one it is, counted from 1.
session::Prompt media_prompt(session::Session& s, std::span<const v4i_token> tokens,
                             const v4i_image* images, std::size_t count);

}  // namespace v4i::capi
