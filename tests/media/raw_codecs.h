// The plug-in's table without the library around it: what it writes, and what it takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/plugin.h"
#include "lib/media/codecs/plugin.h"

namespace v4i::media {

class RawCodecs {
 public:
  RawCodecs();
  const v4i_images_api& api() const { return *api_; }

  struct Answer {
    int result = 0;
    std::string why;
    v4i_images_info info{};
    std::vector<std::uint8_t> rgb;
  };
  // Only the header.
  Answer probe(const std::string& file);
  // Into memory that holds `fill` everywhere.
  Answer decode(const std::string& file, const v4i_images_info& info, std::uint8_t fill);

  // More are refused.
  std::size_t most_bytes = std::size_t{1} << 30;
  std::size_t bytes = 0, peak = 0;  // that the codec has of us, and had

 private:
  v4i_images_host host();

  Plugin plugin_;
  const v4i_images_api* api_ = nullptr;
};

}  // namespace v4i::media
