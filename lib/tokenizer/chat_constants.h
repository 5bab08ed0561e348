// Byte-exact texts of the chat formats.  V4.1 uses the same ones with other tag names.
#pragma once

namespace v4i::tokenizer {

extern const char kToolsBlock[];  // holds {tool_schemas} where the schemas go
extern const char kResponseFormat[];
extern const char kEffortAbsoluteMaximum[];
extern const char kEffortBeyondMaximum[];

}  // namespace v4i::tokenizer
