# Image files: with V4I_IMAGES the plug-in libv4infer-images.so (lib/media/codecs), with those of
# libpng, libjpeg-turbo and libwebp whose static libraries are installed.
#
# libv4infer always has the code that opens the plug-in.  The codecs are static and hidden in it, so
# that they are not mixed up with a host's own, and so that what they call of the C library can be
# given to lib/media/codecs/memory.cc (--wrap).
option(V4I_IMAGES "Build libv4infer-images.so from those of libpng, libjpeg, libwebp that there are" ON)
if(NOT V4I_IMAGES)
  return()
endif()
if(WIN32 OR APPLE)  # a linker with --wrap is needed
  message(STATUS "images: libv4infer-images.so is built on Linux only")
  return()
endif()
include(GNUInstallDirs)
include(CheckCSourceCompiles)

set(images_wraps "")
foreach(name malloc calloc free getenv fprintf __fprintf_chk fputc fflush exit abort stderr stdout)
  list(APPEND images_wraps LINKER:--wrap=${name})
endforeach()

# v4i_codec(NAME package header "archives" "code"): sets V4I_IMAGES_NAME where a plug-in can be
# linked with it: a position-independent one, for the machine that is built for.
set(images_includes "")
set(images_archives "")
set(images_missing "")
function(v4i_codec name package header archives code)
  find_path(V4I_${name}_INCLUDE ${header} DOC "Folder of ${header} (Debian: ${package})")
  set(found ${V4I_${name}_INCLUDE})
  set(libraries "")
  foreach(archive IN LISTS archives)
    find_library(V4I_ARCHIVE_${archive} ${archive} DOC "Of Debian's ${package}")
    if(NOT V4I_ARCHIVE_${archive})
      set(found FALSE)
    endif()
    list(APPEND libraries ${V4I_ARCHIVE_${archive}})
  endforeach()
  if(found)
    set(CMAKE_REQUIRED_INCLUDES ${V4I_${name}_INCLUDE})
    set(CMAKE_REQUIRED_LIBRARIES ${libraries} m)
    set(CMAKE_REQUIRED_FLAGS -fPIC)
    # The check has no memory.cc: what it would define is left undefined.
    set(CMAKE_REQUIRED_LINK_OPTIONS -shared LINKER:--exclude-libs,ALL
        LINKER:--wrap=stderr LINKER:--wrap=stdout)
    set(hidden "__attribute__((visibility(\"hidden\")))")
    check_c_source_compiles("#include <stdio.h>
#include <${header}>
${hidden} FILE *__wrap_stderr, *__wrap_stdout;
int main(void) { ${code} }" V4I_IMAGES_${name})
  endif()
  if(V4I_IMAGES_${name})
    set(images_includes ${images_includes} ${V4I_${name}_INCLUDE} PARENT_SCOPE)
    set(images_archives ${images_archives} ${libraries} PARENT_SCOPE)
  else()
    set(images_missing "${images_missing} ${name} (${package})" PARENT_SCOPE)
  endif()
endfunction()

v4i_codec(PNG libpng-dev png.h "libpng.a;libz.a"
          "return png_create_read_struct(PNG_LIBPNG_VER_STRING, 0, 0, 0) != 0;")
v4i_codec(JPEG libjpeg-dev jpeglib.h libjpeg.a
          "struct jpeg_decompress_struct d; jpeg_mem_src(&d, 0, 0); return jpeg_read_header(&d, 1);")
v4i_codec(WEBP libwebp-dev webp/demux.h "libwebpdemux.a;libwebp.a"
          "return WebPDemux(0) != 0;")
if(images_missing)
  message(STATUS "images: without${images_missing}; such files will be refused")
endif()

set(images_folder ${PROJECT_SOURCE_DIR}/lib/media/codecs)
set(images_sources ${images_folder}/api.cc ${images_folder}/memory.cc)
set(images_definitions "")
foreach(name PNG JPEG WEBP)
  if(V4I_IMAGES_${name})
    string(TOLOWER ${name} file)
    list(APPEND images_sources ${images_folder}/${file}.cc)
    list(APPEND images_definitions V4I_IMAGES_HAS_${name})
  endif()
endforeach()
if(NOT images_definitions)
  message(STATUS "images: there is no codec, so libv4infer-images.so is not built")
  return()
endif()

add_library(v4infer_images MODULE ${images_sources})
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/images.map
     CONTENT "{ global: v4i_images_plugin; local: *; };\n")
target_compile_definitions(v4infer_images PRIVATE ${images_definitions})
target_include_directories(v4infer_images SYSTEM PRIVATE ${images_includes})
target_link_libraries(v4infer_images PRIVATE v4i_options ${images_archives} m)
target_link_options(v4infer_images PRIVATE ${images_wraps} LINKER:--exclude-libs,ALL LINKER:--gc-sections
                    LINKER:--version-script=${PROJECT_BINARY_DIR}/images.map)
if(NOT V4I_SANITIZE)
  target_link_options(v4infer_images PRIVATE LINKER:-z,defs)
endif()
set_target_properties(v4infer_images PROPERTIES OUTPUT_NAME v4infer-images PREFIX "lib" SUFFIX ".so")
install(TARGETS v4infer_images DESTINATION ${CMAKE_INSTALL_LIBDIR})
