// Token classes: which token ids V4.1's Engram takes for the same.
//
// The hashed n-gram tables are addressed by classes of ids, so that "The", " the" and "THE" share
// rows.  Two tokens are of one class when their texts are equal without case, accents,
// compatibility forms and white space around them; a token that is not a text of its own, such as
// half of a character, is compared as it is spelled.  Classes are numbered as ids first use them.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/tokenizer/tokenizer.h"

namespace v4i::tokenizer {

// One class for each id of [0, tokenizer.size()); an id without a token is alone in its class.
// About 0.1 s for the published tokenizer.
std::vector<std::int32_t> token_classes(const Tokenizer& tokenizer);

}  // namespace v4i::tokenizer
