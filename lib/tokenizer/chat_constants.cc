// Texts that DeepSeek's prompt encoders put into prompts; the models were trained on
// these bytes.  From encoding/encoding_dsv4.py of the published checkpoints, which is
//
//   MIT License.  Copyright (c) DeepSeek.
//   Permission is hereby granted, free of charge, to any person obtaining a copy of this
//   software and associated documentation files (the "Software"), to deal in the Software
//   without restriction, including without limitation the rights to use, copy, modify,
//   merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
//   permit persons to whom the Software is furnished to do so, subject to the following
//   conditions: The above copyright notice and this permission notice shall be included in
//   all copies or substantial portions of the Software.
//   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
//   INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
//   PURPOSE AND NONINFRINGEMENT.  IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
//   LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT
//   OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
//   DEALINGS IN THE SOFTWARE.
#include "lib/tokenizer/chat_constants.h"

namespace v4i::tokenizer {

// 1003 bytes, SHA-256 859cd6d2...
const char kToolsBlock[] =
    "## Tools\n"
    "\n"
    "You have access to a set of tools to help answer the user's question. You can invoke "
    "tools by writing a \"<\xef\xbd\x9c"
    "DSML\xef\xbd\x9ctool_calls>\" block like the "
    "following:\n"
    "\n"
    "<\xef\xbd\x9c"
    "DSML\xef\xbd\x9ctool_calls>\n"
    "<\xef\xbd\x9c"
    "DSML\xef\xbd\x9cinvoke name=\"$TOOL_NAME\">\n"
    "<\xef\xbd\x9c"
    "DSML\xef\xbd\x9cparameter name=\"$PARAMETER_NAME\" "
    "string=\"true|false\">$PARAMETER_VALUE</\xef\xbd\x9c"
    "DSML\xef\xbd\x9cparameter>\n"
    "...\n"
    "</\xef\xbd\x9c"
    "DSML\xef\xbd\x9cinvoke>\n"
    "<\xef\xbd\x9c"
    "DSML\xef\xbd\x9cinvoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</\xef\xbd\x9c"
    "DSML\xef\xbd\x9cinvoke>\n"
    "</\xef\xbd\x9c"
    "DSML\xef\xbd\x9ctool_calls>\n"
    "\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all "
    "other types (numbers, booleans, arrays, objects), pass the value in JSON format "
    "and set `string=\"false\"`.\n"
    "\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete "
    "reasoning inside <think>...</think> BEFORE any tool calls or final response.\n"
    "\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n"
    "\n"
    "### Available Tool Schemas\n"
    "\n"
    "{tool_schemas}\n"
    "\n"
    "You MUST strictly follow the above defined tool name and parameter schemas to invoke "
    "tool calls.\n";

// 80 bytes, SHA-256 5200f584...
const char kResponseFormat[] =
    "## Response Format:\n"
    "\n"
    "You MUST strictly adhere to the following schema to reply:\n";

// 476 bytes, SHA-256 f7a24f3b...: "max" of the preview, "high" of 0731.
const char kEffortAbsoluteMaximum[] =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem "
    "to resolve the root cause, rigorously stress-testing your logic against all potential "
    "paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate "
    "step, considered alternative, and rejected hypothesis to ensure absolutely no assumption "
    "is left unchecked.\n"
    "\n";

// 528 bytes, SHA-256 53fb31b8...: "max" of 0731.
const char kEffortBeyondMaximum[] =
    "Reasoning Effort: Beyond maximum \xe2\x80\x94 exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to "
    "chance: exhaustively decompose the problem into its most fundamental components, "
    "trace every causal chain to its root, and resolve the underlying cause rather than "
    "any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple "
    "angles and are certain that no assumption remains unchecked and no error remains "
    "undiscovered.\n"
    "\n";

}  // namespace v4i::tokenizer
