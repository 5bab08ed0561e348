// ImageFile; see image_file.h.
#include "image_file.h"

#include <cctype>
#include <filesystem>
#include <fstream>

namespace cli {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 28;  // of a file
constexpr std::uint32_t kMostPixels = 1u << 20;           // on a side of a PPM

std::string read_picture(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) throw Failure(path + ": is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Failure(path + ": cannot be read");
  std::string out;
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  while (in && out.size() <= kMostBytes) {
    const std::size_t at = out.size();
    out.resize(at + kPiece);
    in.read(out.data() + at, static_cast<std::streamsize>(kPiece));
    out.resize(at + static_cast<std::size_t>(in.gcount()));
  }
  if (out.size() > kMostBytes) throw Failure(path + ": is larger than 256 MiB");
  return out;
}

// The numbers of a PPM's header, one after the other.
class Header {
 public:
  Header(const std::string& path, const std::string& bytes) : path_(path), bytes_(bytes) {}

  std::uint32_t number(const char* what) {
    skip();
    std::uint32_t n = 0;
    const std::size_t begin = at_;
    for (; at_ < bytes_.size() && is_digit(bytes_[at_]) && n <= kMostPixels; ++at_)
      n = 10 * n + static_cast<std::uint32_t>(bytes_[at_] - '0');
    if (at_ == begin || n == 0 || n > kMostPixels)
      throw Failure(path_ + ": the " + what + " of the PPM is not a number from 1 to " +
                    std::to_string(kMostPixels));
    return n;
  }
  // Behind the one white space that ends the header.
  std::size_t end() const {
    if (at_ < bytes_.size() && !is_space(bytes_[at_]))
      throw Failure(path_ + ": no white space ends the header of the PPM");
    return at_ + 1;
  }
  static bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

 private:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  void skip() {  // white space, and comments to the end of their lines
    while (at_ < bytes_.size() && (is_space(bytes_[at_]) || bytes_[at_] == '#')) {
      if (bytes_[at_] == '#')
        while (at_ < bytes_.size() && bytes_[at_] != '\n') ++at_;
      else
        ++at_;
    }
  }

  const std::string& path_;
  const std::string& bytes_;
  std::size_t at_ = 2;  // behind "P6"
};

}  // namespace

ImageFile::ImageFile(std::string path, std::string bytes, std::uint32_t max_tokens)
    : path_(std::move(path)), bytes_(std::move(bytes)), max_tokens_(max_tokens) {
  if (bytes_.empty()) throw Failure(path_ + ": is empty");
  const bool ppm = bytes_.size() > 2 && bytes_.compare(0, 2, "P6") == 0;
  if (ppm && (Header::is_space(bytes_[2]) || bytes_[2] == '#')) read_ppm();
}

void ImageFile::read_ppm() {
  Header header(path_, bytes_);
  width_ = header.number("width");
  height_ = header.number("height");
  const std::uint32_t white = header.number("largest value");
  if (white != 255)
    throw Failure(path_ + ": the largest value of the PPM is " + std::to_string(white) +
                  ", and only 255 is read");
  pixels_ = header.end();
  const std::uint64_t wanted = std::uint64_t{3} * width_ * height_;
  const std::uint64_t found = bytes_.size() - std::min(bytes_.size(), pixels_);
  if (found < wanted)
    throw Failure(path_ + ": the PPM of " + std::to_string(width_) + " x " +
                  std::to_string(height_) + " pixels has " + std::to_string(found) +
                  " bytes of them, expected " + std::to_string(wanted));
}

v4i_image ImageFile::view() const {
  auto out = v4infer::init<v4i_image>();
  out.format = width_ > 0 ? V4I_PIXELS_RGB8 : V4I_PIXELS_ENCODED;
  out.width = width_;
  out.height = height_;
  out.data = bytes_.data() + pixels_;
  out.data_bytes = bytes_.size() - pixels_;
  out.max_tokens = max_tokens_;
  return out;
}

v4infer::Images views(const ImageFiles& files) {
  v4infer::Images out;
  for (const auto& f : files) out.push_back(f->view());
  return out;
}

void add_image_args(CLI::App& command, ImageArgs& a, const char* what) {
  command.add_option("--image", a.files, what)->allow_extra_args(false);
  command
      .add_option("--image-tokens", a.max_tokens,
                  "most tokens that an image may take, at least 19; fewer are sooner computed and "
                  "show less; default the model's most")
      ->check(CLI::Range(19, 1 << 20));
}

v4infer::Result<std::uint64_t> image_tokens(v4infer::Session& trial, const v4i_image& image) {
  const std::uint64_t before = take(trial.info()).pending;
  if (v4infer::Error e = trial.append_image(image)) return e;
  return take(trial.info()).pending - before;
}

std::shared_ptr<const ImageFile> load_image(const Opened& opened, const std::string& path,
                                            std::uint32_t max_tokens, std::uint64_t* tokens) {
  auto file = std::make_shared<const ImageFile>(path, read_picture(path), max_tokens);
  auto trial = v4infer::Session::create(opened.model);
  std::uint64_t n = 0;
  if (trial) {
    auto counted = image_tokens(*trial, file->view());
    if (!counted) throw Failure(path + ": " + counted.error().message());
    n = *counted;
  }
  if (tokens != nullptr) *tokens = n;
  return file;
}

ImageFiles load_images(const Opened& opened, const ImageArgs& args) {
  ImageFiles out;
  for (const std::string& path : args.files)
    out.push_back(load_image(opened, path, args.max_tokens));
  return out;
}

Json user_message(const std::string& text, std::size_t images) {
  if (images == 0) return Json{{"role", "user"}, {"content", text}};
  Json parts = Json::array();
  for (std::size_t i = 0; i < images; ++i) parts.push_back(Json{{"type", "image"}});
  parts.push_back(Json{{"type", "text"}, {"text", text}});
  return Json{{"role", "user"}, {"content", std::move(parts)}};
}

}  // namespace cli
