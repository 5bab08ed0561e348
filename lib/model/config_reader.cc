// Checks of single values; see config_reader.h.
#include "lib/model/config_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/loader/names.h"

namespace v4i::model {

using nlohmann::json;

json parse_json_object(std::string_view text, const std::string& name) {
  constexpr int kMaxDepth = 16;
  bool deep = false;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t, json&) {
    deep = deep || depth > kMaxDepth;
    return !deep;
  };
  json o = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (deep) fail(Code::kFormat, "{}: nested deeper than {} levels", name, kMaxDepth);
  if (!o.is_object()) fail(Code::kFormat, "{}: not a JSON object", name);
  return o;
}

const json* ConfigReader::get(const char* hf, const char* reference) const {
  const json* a = lookup(hf);
  const json* b = reference != nullptr ? lookup(reference) : nullptr;
  if (a != nullptr && b != nullptr && *a != *b)
    fail(Code::kFormat, "{}: {}{} is {} but {} is {}, expected the same", *name_, where_, hf,
         text(*a), reference, text(*b));
  return a != nullptr ? a : b;
}

const json* ConfigReader::object(const char* key) const {
  const json* v = get(key, nullptr);
  if (v != nullptr && !v->is_object())
    fail(Code::kFormat, "{}: {}{} is {}, expected an object", *name_, where_, key, text(*v));
  return v;
}

std::optional<double> ConfigReader::find_real(const RealKey& key) const {
  const json* v = get(key.hf, key.reference);
  if (v == nullptr) return std::nullopt;
  const double x = v->is_number() ? v->get<double>() : std::nan("");
  if (!(x >= key.low && x <= key.high))
    fail(Code::kFormat, "{}: {}{} is {}, expected a number from {} to {}", *name_, where_, key.hf,
         text(*v), key.low, key.high);
  return x;
}

double ConfigReader::real(const RealKey& key) const {
  const std::optional<double> x = find_real(key);
  if (!x) missing(key.hf, key.reference);
  return *x;
}

void ConfigReader::require(const FixedKey& key) const {
  const json* v = get(key.hf, key.reference);
  if (v != nullptr && *v != json::parse(key.wanted))
    fail(Code::kUnsupported, "{}: {}{} is {}, only {} is supported", *name_, where_, key.hf,
         text(*v), key.wanted);
}

std::int64_t ConfigReader::integer(const json& v, const char* key, std::int64_t low,
                                   std::int64_t high) const {
  const bool fits =
      v.is_number_integer() && (!v.is_number_unsigned() || v.get<std::uint64_t>() <= INT64_MAX);
  const std::int64_t n = fits ? v.get<std::int64_t>() : 0;
  if (!fits || n < low || n > high)
    fail(Code::kFormat, "{}: {}{} is {}, expected a whole number from {} to {}", *name_, where_,
         key, text(v), low, high);
  return n;
}

std::vector<std::int64_t> ConfigReader::list(const json& v, const char* key, std::int64_t low,
                                             std::int64_t high) const {
  if (!v.is_array())
    fail(Code::kFormat, "{}: {}{} is {}, expected a list", *name_, where_, key, text(v));
  std::vector<std::int64_t> out;
  for (const json& item : v) out.push_back(integer(item, key, low, high));
  return out;
}

std::vector<int> ConfigReader::layers(const char* hf, const char* reference,
                                      std::int64_t count) const {
  const json* v = get(hf, reference);
  std::vector<int> out;
  if (v == nullptr) return out;
  for (const std::int64_t layer : list(*v, hf, 0, count - 1)) {
    if (!out.empty() && layer <= out.back())
      fail(Code::kFormat, "{}: {}{} has {} after {}, expected rising layers", *name_, where_, hf,
           layer, out.back());
    out.push_back(static_cast<int>(layer));
  }
  return out;
}

void ConfigReader::missing(const char* hf, const char* reference) const {
  if (reference != nullptr)
    fail(Code::kFormat, "{}: {}{} (or {}) is missing", *name_, where_, hf, reference);
  fail(Code::kFormat, "{}: {}{} is missing", *name_, where_, hf);
}

std::string ConfigReader::text(const json& v) {
  if (v.is_object()) return "an object";
  if (v.is_array()) return "a list";
  return loader::printable(v.dump(-1, ' ', true, json::error_handler_t::replace));
}

const json* ConfigReader::lookup(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const json* ConfigReader::lookup(const char* key) const {
  const json* a = lookup(*o_, key);
  const json* b = inner_ != nullptr ? lookup(*inner_, key) : nullptr;
  if (a != nullptr && b != nullptr && *a != *b)
    fail(Code::kFormat, "{}: {}.{} is {} but {} at the top is {}, expected the same", *name_,
         inner_name_, key, text(*b), key, text(*a));
  return b != nullptr ? b : a;
}

}  // namespace v4i::model
