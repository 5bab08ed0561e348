// JsonValue: built through nlohmann's event parser, which never recurses.
#include "lib/tokenizer/json_value.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "lib/base/error.h"

namespace v4i::tokenizer {
namespace {

using Kind = JsonValue::Kind;
using Json = nlohmann::json;

// The values that are still open, outermost first.  A value lies in its parent, which
// does not grow while a child is open, so the pointers stay valid.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(JsonValue& root, JsonLimits limits) : root_(root), limits_(limits) {}
  const std::string& problem() const { return problem_; }

  bool null() override { return put(Kind::kNull) != nullptr; }
  bool boolean(bool v) override { return put(v ? Kind::kTrue : Kind::kFalse) != nullptr; }
  bool number_integer(std::int64_t v) override { return put(Kind::kInteger, std::to_string(v)); }
  bool number_unsigned(std::uint64_t v) override { return put(Kind::kInteger, std::to_string(v)); }
  bool number_float(double v, const std::string& raw) override {
    // Integers beyond 64 bits arrive here; Python keeps all their digits.
    if (raw.find_first_of(".eE") == std::string::npos) return put(Kind::kInteger, raw);
    return put(Kind::kFloat, python_float(v));
  }
  bool string(std::string& v) override { return put(Kind::kString, std::move(v)); }
  bool binary(Json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Kind::kObject); }
  bool start_array(std::size_t) override { return open(Kind::kArray); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& v) override {
    key_ = std::move(v);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    const std::string text = e.what();  // "[json.exception...] parse error at line ...: why"
    const std::size_t why = text.find("] ");
    problem_ = fmt::format("is not valid JSON at byte {}: {}", position,
                           why == std::string::npos ? text : text.substr(why + 2));
    return false;
  }

 private:
  struct Open {
    JsonValue* value;
    std::unordered_map<std::string, std::size_t> keys;
  };

  JsonValue* put(Kind kind, std::string text = {}) {
    if (++values_ > limits_.values) {
      problem_ = fmt::format("has more than {} JSON values", limits_.values);
      return nullptr;
    }
    JsonValue* v = open_.empty() ? &root_ : place(open_.back());
    *v = JsonValue{};
    v->kind = kind;
    v->text = std::move(text);
    return v;
  }

  JsonValue* place(Open& parent) {
    if (parent.value->is_array()) return &parent.value->items.emplace_back();
    const auto [it, fresh] = parent.keys.emplace(key_, parent.value->members.size());
    if (fresh) parent.value->members.push_back({std::move(key_), JsonValue{}});
    return &parent.value->members[it->second].value;
  }

  bool open(Kind kind) {
    if (open_.size() >= static_cast<std::size_t>(limits_.depth)) {
      problem_ = fmt::format("is nested deeper than {} levels", limits_.depth);
      return false;
    }
    JsonValue* v = put(kind);
    if (v != nullptr) open_.push_back({v, {}});
    return v != nullptr;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  JsonValue& root_;
  JsonLimits limits_;
  std::vector<Open> open_;
  std::string key_, problem_;
  std::size_t values_ = 0;
};

std::string parse_into(std::string_view text, JsonValue& out, JsonLimits limits) {
  Builder builder(out, limits);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return {};
  return builder.problem().empty() ? "is not valid JSON" : builder.problem();
}

void dump(const JsonValue& v, std::string& out) {
  switch (v.kind) {
    case Kind::kNull:
      out += "null";
      return;
    case Kind::kFalse:
      out += "false";
      return;
    case Kind::kTrue:
      out += "true";
      return;
    case Kind::kInteger:
    case Kind::kFloat:
      out += v.text;
      return;
    case Kind::kString:
      python_quote(v.text, out);
      return;
    case Kind::kArray:
      out += '[';
      for (std::size_t i = 0; i < v.items.size(); ++i) {
        if (i > 0) out += ", ";
        dump(v.items[i], out);
      }
      out += ']';
      return;
    case Kind::kObject:
      out += '{';
      for (std::size_t i = 0; i < v.members.size(); ++i) {
        if (i > 0) out += ", ";
        python_quote(v.members[i].key, out);
        out += ": ";
        dump(v.members[i].value, out);
      }
      out += '}';
      return;
  }
}

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const Member& m : members)
    if (m.key == key) return &m.value;
  return nullptr;
}

bool JsonValue::truthy() const {
  switch (kind) {
    case Kind::kNull:
    case Kind::kFalse:
      return false;
    case Kind::kTrue:
      return true;
    case Kind::kInteger:
      return text != "0";
    case Kind::kFloat:
      return text != "0.0" && text != "-0.0";
    case Kind::kString:
      return !text.empty();
    case Kind::kArray:
      return !items.empty();
    case Kind::kObject:
      return !members.empty();
  }
  return false;
}

const char* kind_name(JsonValue::Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kFalse:
    case Kind::kTrue:
      return "a boolean";
    case Kind::kInteger:
      return "an integer";
    case Kind::kFloat:
      return "a number";
    case Kind::kString:
      return "a string";
    case Kind::kArray:
      return "an array";
    case Kind::kObject:
      return "an object";
  }
  return "?";
}

JsonValue parse_json(std::string_view text, const std::string& name, JsonLimits limits) {
  JsonValue v;
  const std::string problem = parse_into(text, v, limits);
  if (!problem.empty()) fail(Code::kFormat, "{} {}", name, problem);
  return v;
}

bool try_parse_json(std::string_view text, JsonValue& out, JsonLimits limits) {
  return parse_into(text, out, limits).empty();
}

std::string python_dumps(const JsonValue& value) {
  std::string out;
  dump(value, out);
  return out;
}

}  // namespace v4i::tokenizer
