// Tensor names and names for messages; see names.h.
#include "lib/loader/names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace v4i::loader {

namespace {

// What the official converter accepts, and the two names of transformers.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kAliases = {{
    {"self_attn", "attn"},
    {"mlp", "ffn"},
    {"weight_scale_inv", "scale"},
    {"e_score_correction_bias", "bias"},
    {"lm_head", "head"},
    {"embed_tokens", "embed"},
}};

std::string_view official_part(std::string_view part) {
  for (const auto& [alias, official] : kAliases)
    if (part == alias) return official;
  return part;
}

}  // namespace

std::string normalise_name(std::string_view name) {
  constexpr std::string_view kPrefix = "model.";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  std::string out;
  out.reserve(name.size());
  for (;;) {
    const std::size_t dot = name.find('.');
    out += official_part(name.substr(0, dot));
    if (dot == std::string_view::npos) return out;
    out += '.';
    name.remove_prefix(dot + 1);
  }
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::string out(text.substr(0, kLongest));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  if (text.size() > kLongest) out += "...";
  return out;
}

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return false;
  return name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace v4i::loader
