// Names: of tensors, as the official checkpoints spell them, and for messages.
#pragma once

#include <string>
#include <string_view>

namespace v4i::loader {

// The official spelling (docs/model.md): a leading "model." dropped, and of the
// dot-separated parts self_attn -> attn, mlp -> ffn, weight_scale_inv -> scale,
// e_score_correction_bias -> bias, lm_head -> head, embed_tokens -> embed.
std::string normalise_name(std::string_view name);

// Text from a file, made fit for a message: control and non-ASCII bytes become
// '?', and what is longer than 120 bytes ends in "...".
std::string printable(std::string_view text);

// True for a plain file name: no separator, no NUL, not ".", "..", nor empty.
// Anything else in an index could point outside the model's folder.
bool is_plain_file_name(std::string_view name);

}  // namespace v4i::loader
