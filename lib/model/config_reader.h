// ConfigReader: one JSON object of config.json, asked key by key.
//
// Every key has up to two spellings, the Hugging Face one and the reference's; both
// given must agree.  Null is the same as absent.  Whatever is wrong throws
// Error(kFormat) with file, key, found and wanted; an unsupported choice kUnsupported.
//
// Looks into the objects it was made from; private to lib/model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/config.h"

namespace v4i::model {

template <class Numbers>
struct IntKeyOf {
  const char* hf;
  const char* reference;         // null: the same name
  std::int64_t Numbers::*field;  // where it goes; null when the caller takes it
  std::int64_t low, high;
  bool required = true;
};
using IntKey = IntKeyOf<Config>;

struct RealKey {
  const char* hf;
  const char* reference;
  double low, high;
};

struct FixedKey {  // may be absent, but never something else
  const char* hf;
  const char* reference;
  const char* wanted;  // as JSON
};

// The text as one JSON object of bounded depth; `name` is for messages.
nlohmann::json parse_json_object(std::string_view text, const std::string& name);

class ConfigReader {
 public:
  using json = nlohmann::json;

  // `where` goes before keys in messages: "" or "parent.".
  ConfigReader(const json& object, const std::string& name, const char* where = "")
      : o_(&object), name_(&name), where_(where) {}

  // A key may stand in `inner`, the object under the key `inner_name` of `object`, or in
  // `object` itself; both given must agree.
  ConfigReader(const json& object, const json& inner, const char* inner_name,
               const std::string& name)
      : o_(&object), inner_(&inner), inner_name_(inner_name), name_(&name) {}

  const json* get(const char* hf, const char* reference) const;  // null when absent
  const json* object(const char* key) const;  // null when absent; refused when not an object
  template <class Numbers>
  std::optional<std::int64_t> find_integer(const IntKeyOf<Numbers>& key) const {
    const json* v = get(key.hf, key.reference);
    if (v == nullptr) return std::nullopt;
    return integer(*v, key.hf, key.low, key.high);
  }
  // Every key of a table into its field; an optional one that is absent gives 0.
  template <class Numbers, std::size_t N>
  void read(const IntKeyOf<Numbers> (&keys)[N], Numbers& to) const {
    for (const IntKeyOf<Numbers>& k : keys) {
      const std::optional<std::int64_t> v = find_integer(k);
      if (!v && k.required) missing(k.hf, k.reference);
      to.*k.field = v.value_or(0);
    }
  }
  std::optional<double> find_real(const RealKey& key) const;
  double real(const RealKey& key) const;
  void require(const FixedKey& key) const;

  // Checks of one value; `key` is for messages.
  std::int64_t integer(const json& v, const char* key, std::int64_t low, std::int64_t high) const;
  std::vector<std::int64_t> list(const json& v, const char* key, std::int64_t low,
                                 std::int64_t high) const;
  // Layers, rising and without repeats; empty when absent.
  std::vector<int> layers(const char* hf, const char* reference, std::int64_t count) const;

  [[noreturn]] void missing(const char* hf, const char* reference) const;

  // A short printable form for messages; nested values are not printed.
  static std::string text(const json& v);

 private:
  static const json* lookup(const json& object, const char* key);
  const json* lookup(const char* key) const;

  const json* o_;
  const json* inner_ = nullptr;
  const char* inner_name_ = "";
  const std::string* name_;
  const char* where_ = "";
};

}  // namespace v4i::model
