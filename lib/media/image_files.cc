// Finding the codecs, and what they are given; see image_files.h.
#include "lib/media/image_files.h"

#include <limits>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/plugin.h"
#include "lib/media/codecs/plugin.h"

namespace v4i::media {

class CodecLibrary {
 public:
  explicit CodecLibrary(const std::string& path);
  const v4i_images_api& api() const { return *api_; }

 private:
  Plugin plugin_;
  const v4i_images_api* api_ = nullptr;
};

namespace {

static_assert(static_cast<int>(kPng) == static_cast<int>(V4I_IMAGES_PNG) &&
              static_cast<int>(kJpeg) == static_cast<int>(V4I_IMAGES_JPEG) &&
              static_cast<int>(kWebp) == static_cast<int>(V4I_IMAGES_WEBP));

constexpr const char* kFile = "libv4infer-images.so";
constexpr const char* kWho = "image files";
constexpr std::string_view kRemedy =
    "; install it beside libv4infer.so.1 (it is built where libpng-dev, libjpeg-dev and "
    "libwebp-dev are), or give pixels";
constexpr std::size_t kAlign = 64;
constexpr std::size_t kWhyBytes = 256;

// What a codec allocates, from the budget; a refusal is kept for whoever called.
struct Memory {
  Budget& budget;
  std::string what;
  std::string why = {};

  static void* allocate(void* user, std::size_t bytes) noexcept {
    Memory& m = *static_cast<Memory*>(user);
    try {
      return detail::take_aligned(m.budget, bytes, 1, kAlign, Use::kScratch, m.what.c_str());
    } catch (const std::exception& e) {
      try {
        m.why = e.what();
      } catch (...) {  // then there is no sentence
      }
      return nullptr;
    }
  }
  static void release(void* user, void* p, std::size_t bytes) {
    Memory& m = *static_cast<Memory*>(user);
    detail::give_aligned(m.budget, p, bytes, kAlign, Use::kScratch);
  }
  v4i_images_host host() { return {this, allocate, release}; }
};

// "PNG image: the file ends early".
[[noreturn]] void fail_as(int result, const char* format, const char* why, const Memory& memory) {
  const std::string who =
      *format == '\0' ? "image file" : fmt::format("{} image", std::string_view(format));
  switch (result) {
    case V4I_IMAGES_DAMAGED:
      fail(Code::kFormat, "{}: {}", who, why);
    case V4I_IMAGES_UNSUPPORTED:
      fail(Code::kUnsupported, "{}: {}", who, why);
    case V4I_IMAGES_NO_MEMORY:
      fail(Code::kNoMemory, "{}: {}", who, memory.why.empty() ? why : memory.why.c_str());
    default:
      fail(Code::kInternal, "{}: its codec answers {}", who, result);
  }
}

}  // namespace

CodecLibrary::CodecLibrary(const std::string& path)
    : plugin_(Plugin::open({kWho, kFile, nullptr, kRemedy}, path)) {
  const auto table =
      reinterpret_cast<v4i_images_plugin_function>(plugin_.symbol(V4I_IMAGES_PLUGIN_SYMBOL));
  if (table == nullptr)
    fail(Code::kUnsupported, "{}: {} is not the plug-in of libv4infer: it has no {}", kWho,
         plugin_.path(), V4I_IMAGES_PLUGIN_SYMBOL);
  api_ = table();
  if (api_ == nullptr || api_->bytes != sizeof(v4i_images_api) ||
      api_->version != V4I_IMAGES_VERSION)
    fail(Code::kUnsupported,
         "{}: {} is of another version of libv4infer (its table has version {}, wanted {}); "
         "install the two together",
         kWho, plugin_.path(), api_ == nullptr ? 0 : api_->version, V4I_IMAGES_VERSION);
}

ImageFiles::ImageFiles(std::string path) : path_(std::move(path)) {}
ImageFiles::~ImageFiles() = default;

const CodecLibrary& ImageFiles::library() {
  const std::lock_guard lock(mutex_);
  if (library_ == nullptr) library_ = std::make_unique<CodecLibrary>(path_);
  return *library_;
}

std::uint32_t ImageFiles::formats() { return library().api().formats; }

ImageHeader ImageFiles::probe(std::span<const std::uint8_t> file, Budget& budget) {
  const v4i_images_api& api = library().api();
  Memory memory{budget, "reading the header of an image"};
  const v4i_images_host host = memory.host();
  const v4i_images_file bytes = {file.data(), file.size()};
  v4i_images_info info = {"", 0, 0};
  char why[kWhyBytes] = "";
  const int result = api.probe(&bytes, &host, &info, why, sizeof why);
  if (result != V4I_IMAGES_OK) fail_as(result, info.format, why, memory);
  return {info.format, info.width, info.height};
}

DecodedImage ImageFiles::decode(std::span<const std::uint8_t> file, const ImageHeader& header,
                                Budget& budget) {
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (header.width < 1 || header.height < 1 || header.width > kMost || header.height > kMost ||
      header.width > std::numeric_limits<std::int64_t>::max() / 3 / header.height)
    fail(Code::kInvalid, "{} image: it cannot have {} x {} pixels", header.format, header.width,
         header.height);
  const v4i_images_api& api = library().api();
  Memory memory{budget, fmt::format("decoding a {} image", header.format)};
  const v4i_images_host host = memory.host();
  const v4i_images_file bytes = {file.data(), file.size()};
  const v4i_images_info info = {header.format.c_str(), static_cast<std::uint32_t>(header.width),
                                static_cast<std::uint32_t>(header.height)};
  DecodedImage out;
  out.width = header.width;
  out.height = header.height;
  out.rgb = Buffer<std::uint8_t>(budget, static_cast<std::size_t>(3 * out.width * out.height),
                                 Use::kScratch, "the pixels of an image");
  char why[kWhyBytes] = "";
  const int result = api.decode(&bytes, &host, &info, out.rgb.data(), why, sizeof why);
  if (result != V4I_IMAGES_OK) fail_as(result, header.format.c_str(), why, memory);
  return out;
}

}  // namespace v4i::media
