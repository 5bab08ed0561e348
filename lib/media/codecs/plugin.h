/* The codecs as a table of C functions: what libv4infer-images.so gives to libv4infer.
 *
 * libv4infer opens the library at the first image file and asks v4i_images_plugin() for the table.
 * No exception crosses.  Any thread; a call runs on its thread alone and leaves nothing behind.
 *
 * Functions that return int return V4I_IMAGES_OK or one of the codes below; `why`, of `why_bytes`
 * bytes, then says why, in words that follow "PNG image: ".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define V4I_IMAGES_VERSION 1

enum {
  V4I_IMAGES_OK = 0,
  V4I_IMAGES_DAMAGED = 1,     /* the file is not what its format wants, or ends early */
  V4I_IMAGES_UNSUPPORTED = 2, /* of a format, or a kind of one, that is not decoded */
  V4I_IMAGES_NO_MEMORY = 3    /* the host had none to give */
};

enum { V4I_IMAGES_PNG = 1, V4I_IMAGES_JPEG = 2, V4I_IMAGES_WEBP = 4 }; /* bits */

/* All memory that a codec takes is asked for here, and given back before the call returns. */
typedef struct v4i_images_host {
  void* user;
  void* (*allocate)(void* user, size_t bytes); /* aligned to 16; null: there is none */
  void (*release)(void* user, void* p, size_t bytes);
} v4i_images_host;

typedef struct v4i_images_file {
  const uint8_t* data;
  size_t bytes;
} v4i_images_file;

typedef struct v4i_images_info {
  const char* format;     /* "PNG", "GIF"; "" where it is none that is known.  Static */
  uint32_t width, height; /* pixels, both at least 1 */
} v4i_images_info;

typedef struct v4i_images_api {
  uint32_t bytes;   /* sizeof(v4i_images_api) */
  uint32_t version; /* V4I_IMAGES_VERSION */
  uint32_t formats; /* V4I_IMAGES_ bits of those that are decoded */
  uint32_t reserved;
  const char* codecs; /* "libpng 1.6.39, libwebp 1.2.4" */

  /* Reads the header.  `format` is filled in whatever it returns. */
  int (*probe)(const v4i_images_file* file, const v4i_images_host* host, v4i_images_info* out,
               char* why, size_t why_bytes);
  /* The first image of the file as Pillow's convert("RGB") gives it, three bytes a pixel, rows side
   * by side: 3 * width * height bytes, all of them written where it returns V4I_IMAGES_OK.  Width
   * and height are those of probe(); a file with others is V4I_IMAGES_DAMAGED. */
  int (*decode)(const v4i_images_file* file, const v4i_images_host* host,
                const v4i_images_info* info, uint8_t* rgb, char* why, size_t why_bytes);
} v4i_images_api;

#define V4I_IMAGES_PLUGIN_SYMBOL "v4i_images_plugin"
typedef const v4i_images_api* (*v4i_images_plugin_function)(void);

#ifdef __cplusplus
}
#endif
