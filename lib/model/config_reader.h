// ConfigReader: one JSON object of config.json, asked key by key.
//
// Every key has up to two spellings, the Hugging Face one and the reference's; both
// given must agree.  Null is the same as absent.  Whatever is wrong throws
// Error(kFormat) with file, key, found and wanted; an unsupported choice kUnsupported.
//
// Looks into the object it was made from; private to lib/model.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/config.h"

namespace v4i::model {

struct IntKey {
  const char* hf;
  const char* reference;        // null: the same name
  std::int64_t Config::*field;  // where it goes; null when the caller takes it
  std::int64_t low, high;
  bool required = true;
};

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

  ConfigReader(const json& object, const std::string& name) : o_(&object), name_(&name) {}

  const json* get(const char* hf, const char* reference) const;  // null when absent
  std::optional<std::int64_t> find_integer(const IntKey& key) const;
  std::optional<double> find_real(const RealKey& key) const;
  double real(const RealKey& key) const;
  void require(const FixedKey& key, const char* where) const;  // where: "" or "parent."

  // Checks of one value; `key` is for messages.
  std::int64_t integer(const json& v, const char* key, std::int64_t low, std::int64_t high) const;
  std::vector<std::int64_t> list(const json& v, const char* key, std::int64_t low,
                                 std::int64_t high) const;

  [[noreturn]] void missing(const char* hf, const char* reference) const;

  // A short printable form for messages; nested values are not printed.
  static std::string text(const json& v);

 private:
  const json* lookup(const char* key) const;

  const json* o_;
  const std::string* name_;
};

}  // namespace v4i::model
