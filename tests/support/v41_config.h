// config.json of the released DeepSeek-V4.1-Flash, in both spellings.
#pragma once

#include <string>

namespace v4i::test {

std::string v41_config();            // config.json: text_config, vision_config, ...
std::string v41_reference_config();  // inference/config.json: dim, n_layers, ...

// `text` with the value at a JSON pointer ("/text_config/hidden_size") replaced, or removed
// when `value` is empty.
std::string edit_json(const std::string& text, const std::string& path, const std::string& value);

}  // namespace v4i::test
