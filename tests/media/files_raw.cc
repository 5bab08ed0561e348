// Calling the plug-in by hand; see raw_codecs.h.
#include <algorithm>
#include <cstdlib>

#include "tests/media/raw_codecs.h"

namespace v4i::media {

RawCodecs::RawCodecs()
    : plugin_(Plugin::open({"a test", "libv4infer-images.so"}, V4I_IMAGES_PLUGIN)) {
  api_ = reinterpret_cast<v4i_images_plugin_function>(plugin_.symbol(V4I_IMAGES_PLUGIN_SYMBOL))();
}

v4i_images_host RawCodecs::host() {
  v4i_images_host h;
  h.user = this;
  h.allocate = [](void* user, std::size_t n) -> void* {
    RawCodecs& self = *static_cast<RawCodecs*>(user);
    if (n > self.most_bytes - self.bytes) return nullptr;
    self.bytes += n;
    self.peak = std::max(self.peak, self.bytes);
    void* const p = std::malloc(n);
    if (p != nullptr) std::fill_n(static_cast<std::uint8_t*>(p), n, std::uint8_t{0xa5});
    return p;
  };
  h.release = [](void* user, void* p, std::size_t n) {
    static_cast<RawCodecs*>(user)->bytes -= n;
    std::free(p);
  };
  return h;
}

RawCodecs::Answer RawCodecs::probe(const std::string& file) {
  Answer a;
  char why[256] = "";
  const v4i_images_file input = {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()};
  const v4i_images_host h = host();
  a.result = api_->probe(&input, &h, &a.info, why, sizeof why);
  a.why = why;
  return a;
}

RawCodecs::Answer RawCodecs::decode(const std::string& file, const v4i_images_info& info,
                                    std::uint8_t fill) {
  Answer a;
  a.info = info;
  a.rgb.assign(std::size_t{3} * info.width * info.height, fill);
  char why[256] = "";
  const v4i_images_file input = {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()};
  const v4i_images_host h = host();
  a.result = api_->decode(&input, &h, &info, a.rgb.data(), why, sizeof why);
  a.why = why;
  return a;
}

}  // namespace v4i::media
