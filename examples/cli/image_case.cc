// ImageCase; see image_case.h.
#include "image_case.h"

#include <cstring>
#include <filesystem>

namespace cli {
namespace {

constexpr std::uint64_t kMostGrid = 1 << 14;

float float_of_bf16(const char* from) {
  std::uint16_t code;
  std::memcpy(&code, from, sizeof code);
  const std::uint32_t bits = std::uint32_t{code} << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

// The tensors of one safetensors file: uint64 length of a JSON header, the header, the data.
class Tensors {
 public:
  explicit Tensors(const std::string& path) : path_(path), bytes_(read_file(path)) {
    std::uint64_t length = 0;
    if (bytes_.size() < sizeof length) refuse("is no safetensors file");
    std::memcpy(&length, bytes_.data(), sizeof length);
    if (length > bytes_.size() - sizeof length) refuse("is no safetensors file");
    data_ = sizeof length + length;
    header_ = Json::parse(bytes_.substr(sizeof length, length), nullptr, false);
    if (!header_.is_object()) refuse("has no JSON header");
  }

  std::vector<float> floats(const std::string& name, std::uint64_t rows) const try {
    if (!header_.contains(name)) refuse("has no tensor " + name);
    const Json& t = header_.at(name);
    const auto type = t.at("dtype").get<std::string>();
    const auto first = t.at("data_offsets").at(0).get<std::uint64_t>(),
               end = t.at("data_offsets").at(1).get<std::uint64_t>();
    const std::size_t width = type == "BF16" ? 2 : type == "F32" ? 4 : 0;
    if (width == 0) refuse(name + " has type " + type + ", expected BF16 or F32");
    if (first > end || end > bytes_.size() - data_ || (end - first) % width != 0)
      refuse(name + " lies outside of the file");
    const auto found = t.at("shape").at(0).get<std::uint64_t>();
    if (found != rows)
      refuse(name + " has " + std::to_string(found) + " patches, expected " + std::to_string(rows));
    std::vector<float> out((end - first) / width);
    const char* from = bytes_.data() + data_ + first;
    for (std::size_t i = 0; i < out.size(); ++i)
      if (width == 2)
        out[i] = float_of_bf16(from + 2 * i);
      else
        std::memcpy(&out[i], from + 4 * i, 4);
    if (out.empty()) refuse(name + " is empty");
    return out;
  } catch (const Json::exception& e) {
    refuse("the entry of " + name + " is damaged: " + e.what());
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw Failure(path_ + ": " + what); }

  std::string path_, bytes_;
  std::size_t data_ = 0;
  Json header_;
};

class CaseReader {
 public:
  explicit CaseReader(const std::string& path)
      : path_(path), json_(parse(path)), tensors_(beside(path)) {}

  std::vector<CasePart> read() {
    ids_ = ids_of(json_.at("ids"), path_);
    roles_ = json_.value("roles", std::vector<int>());
    if (!roles_.empty() && roles_.size() != ids_.size()) refuse("has not as many roles as ids");
    const Json& images = json_.at("images");
    std::size_t at = 0;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const std::size_t start = number_of(images[i], "start");
      if (start < at || start >= ids_.size())
        refuse("image " + std::to_string(i) + " starts at " + std::to_string(start) +
               ", expected " + std::to_string(at) + " to the last id");
      const std::size_t next =
          i + 1 < images.size() ? number_of(images[i + 1], "start") : ids_.size();
      add_text(at, start);
      at = end_of(start, next);
      add_image(images[i], i, start, at);
    }
    add_text(at, ids_.size());
    return std::move(parts_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw Failure(path_ + ": " + what); }

  std::size_t number_of(const Json& image, const char* key) const {
    return static_cast<std::size_t>(
        whole_number(image.at(key), 1 << 24, path_ + ": " + key + " of an image"));
  }
  static Json parse(const std::string& path) {
    const Json json = Json::parse(read_file(path), nullptr, false);
    if (json.is_discarded()) throw Failure(path + ": is no JSON");
    if (!json.is_object() || !json.contains("ids") || !json.contains("images"))
      throw Failure(path + ": is no object with ids and images; --ids takes ids alone");
    return json;
  }
  static std::string beside(const std::string& path) {
    return (std::filesystem::path(path).parent_path() / "images.safetensors").string();
  }

  // Of the image at `start`: behind its last role, or where another id or image begins.
  std::size_t end_of(std::size_t start, std::size_t next) const {
    constexpr int kEnd = 3;
    for (std::size_t t = start; t < std::min(next, ids_.size()); ++t) {
      if (ids_[t] != ids_[start]) return t;
      if (!roles_.empty() && roles_[t] == kEnd) return t + 1;
    }
    return std::min(std::max(next, start + 1), ids_.size());
  }
  v4infer::Tokens ids(std::size_t from, std::size_t to) const {
    return {ids_.begin() + static_cast<std::ptrdiff_t>(from),
            ids_.begin() + static_cast<std::ptrdiff_t>(to)};
  }
  void add_text(std::size_t from, std::size_t to) {
    if (from == to) return;
    parts_.emplace_back();
    parts_.back().ids = ids(from, to);
  }
  void add_image(const Json& image, std::size_t number, std::size_t from, std::size_t to) {
    const std::uint64_t height = number_of(image, "grid_h"), width = number_of(image, "grid_w");
    if (height < 1 || width < 1 || height > kMostGrid || width > kMostGrid)
      refuse("the grid of image " + std::to_string(number) + " is " + std::to_string(width) +
             " x " + std::to_string(height));
    CasePart part;
    part.ids = ids(from, to);
    part.grid_width = static_cast<std::uint32_t>(width);
    part.grid_height = static_cast<std::uint32_t>(height);
    part.patches = tensors_.floats("image." + std::to_string(number) + ".patches", height * width);
    parts_.push_back(std::move(part));
  }

  std::string path_;
  Json json_;
  Tensors tensors_;
  v4infer::Tokens ids_;
  std::vector<int> roles_;
  std::vector<CasePart> parts_;
};

}  // namespace

v4i_image CasePart::view() const {
  auto out = v4infer::init<v4i_image>();
  out.format = V4I_PIXELS_PATCHES;
  out.width = grid_width;
  out.height = grid_height;
  out.data = patches.data();
  out.data_bytes = patches.size() * sizeof(float);
  return out;
}

std::vector<CasePart> read_case(const std::string& path) try {
  return CaseReader(path).read();
} catch (const Json::exception& e) {
  throw Failure(path + ": holds no ids with images: " + e.what());
}

}  // namespace cli
