// JsonValue: a JSON document as Python would see it.
//
// Chat prompts contain JSON that the models saw as written by Python's
// json.dumps(ensure_ascii=False), so key order, long integers and the spelling of
// floats matter; this keeps what is needed to write it back the same way.
//
// parse() takes hostile text: depth, number of values and UTF-8 are checked.
// Values are plain data; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i::tokenizer {

struct JsonValue {
  enum class Kind : std::uint8_t {
    kNull,
    kFalse,
    kTrue,
    kInteger,
    kFloat,
    kString,
    kArray,
    kObject
  };
  struct Member;

  Kind kind = Kind::kNull;
  std::string text;              // kString: the string; numbers: as Python prints them
  std::vector<JsonValue> items;  // kArray
  std::vector<Member> members;   // kObject, in order; of equal keys the last value counts

  bool is_null() const { return kind == Kind::kNull; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_array() const { return kind == Kind::kArray; }
  bool is_object() const { return kind == Kind::kObject; }
  // The member `key` of an object; nullptr when absent or not an object.
  const JsonValue* find(std::string_view key) const;
  // Python's bool(): false for null, false, 0, "", [] and {}.
  bool truthy() const;
};

// A struct of its own: a std::pair of the type that is being declared confuses clang 14.
struct JsonValue::Member {
  std::string key;
  JsonValue value;
};

const char* kind_name(JsonValue::Kind kind);  // "an object", "a string", ...

struct JsonLimits {
  int depth = 64;
  std::size_t values = 1u << 20;
};

// Error(kFormat) with one sentence that begins with `name`.
JsonValue parse_json(std::string_view text, const std::string& name, JsonLimits limits = {});
// False instead of an error.
bool try_parse_json(std::string_view text, JsonValue& out, JsonLimits limits = {});

// json.dumps(value, ensure_ascii=False).
std::string python_dumps(const JsonValue& value);
void python_quote(std::string_view text, std::string& out);  // appends "..." with escapes
std::string python_float(double value);                      // repr(float)

}  // namespace v4i::tokenizer
