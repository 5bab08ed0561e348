// ImageFile: a picture from a file, as the library takes it.
//
// Binary PPM (P6, 8 bits) is read here, so that pixels need no codec; the bytes of all other files
// go to the library, which knows them by their content (PNG, JPEG, WebP) or says what it misses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common.h"

namespace cli {

class ImageFile {
 public:
  // A Failure that names `path` for what is no picture, as far as that can be seen here.
  ImageFile(std::string path, std::string bytes, std::uint32_t max_tokens);

  const std::string& path() const { return path_; }
  const std::string& bytes() const { return bytes_; }
  std::uint32_t max_tokens() const { return max_tokens_; }  // 0: the model's
  v4i_image view() const;  // valid while this object lives where it is

 private:
  void read_ppm();

  std::string path_, bytes_;
  std::uint32_t max_tokens_;
  std::uint32_t width_ = 0, height_ = 0;  // of a PPM
  std::size_t pixels_ = 0;                // where its pixels begin
};

// In the order of a prompt or a conversation.
using ImageFiles = std::vector<std::shared_ptr<const ImageFile>>;
v4infer::Images views(const ImageFiles& files);

struct ImageArgs {
  std::vector<std::string> files;
  std::uint32_t max_tokens = 0;
};
void add_image_args(CLI::App& command, ImageArgs& args, const char* what);

// The file, once the model has taken it on trial: a Failure names the file.  `tokens`, if not
// null, is how many tokens it becomes, 0 where there was no memory for the trial.
std::shared_ptr<const ImageFile> load_image(const Opened& opened, const std::string& path,
                                            std::uint32_t max_tokens,
                                            std::uint64_t* tokens = nullptr);
ImageFiles load_images(const Opened& opened, const ImageArgs& args);

// Appends it to a session that is there for that, and says how many tokens that were.
v4infer::Result<std::uint64_t> image_tokens(v4infer::Session& trial, const v4i_image& image);

// A user's message: the images, then the text.
Json user_message(const std::string& text, std::size_t images);

}  // namespace cli
