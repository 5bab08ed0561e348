// A plug-in of image files of another version, and a library that is none.
#include "lib/media/codecs/plugin.h"

#if !defined(V4I_TEST_NO_TABLE)
extern "C" __attribute__((visibility("default"))) const v4i_images_api* v4i_images_plugin() {
  static v4i_images_api api{};
  api.bytes = sizeof(api);
  api.version = 99;
  return &api;
}
#endif
