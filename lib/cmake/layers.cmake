# v4i_layer(NAME DIR dir LINK targets...): one folder of the library as a static
# target v4i_NAME, from every .cc in it.  A folder without sources yet is a header
# target, so that layers may appear in any order.

# What every file of the project is compiled with, examples included.
add_library(v4i_warnings INTERFACE)
# -Wrestrict of gcc 12 misreads std::string concatenation (its bug 105651).
target_compile_options(v4i_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                       $<$<BOOL:${V4I_WERROR}>:-Werror>)
if(V4I_SANITIZE)  # under it gcc 12 finds uninitialised variables in its own <regex>
  target_compile_options(v4i_warnings INTERFACE -fsanitize=${V4I_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(v4i_warnings INTERFACE -fsanitize=${V4I_SANITIZE})
endif()

# What the library and its tests add.
add_library(v4i_options INTERFACE)
target_link_libraries(v4i_options INTERFACE v4i_warnings)
target_include_directories(v4i_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
# No contraction: the same arithmetic on every build.  Never -ffast-math.
target_compile_options(v4i_options INTERFACE -ffp-contract=off
  "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include ${PROJECT_SOURCE_DIR}/lib/base/thirdparty.h>")

function(v4i_layer name)
  cmake_parse_arguments(A "" "DIR" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${A_DIR}/*.cc)
  # Libraries of their own: cuda.cmake, images.cmake.
  list(FILTER sources EXCLUDE REGEX "/kernels/cuda/|/media/codecs/")
  if(sources)
    add_library(v4i_${name} STATIC ${sources})
    target_link_libraries(v4i_${name} PUBLIC v4i_options ${A_LINK})
  else()
    add_library(v4i_${name} INTERFACE)
    target_link_libraries(v4i_${name} INTERFACE v4i_options ${A_LINK})
  endif()
endfunction()

# v4i_isa(NAME PROCESSOR flags...): what kernels/cpu/NAME_*.cc are compiled with on processors
# of that name (a regular expression); elsewhere those files are empty and need nothing.
function(v4i_isa name processor)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "${processor}")
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/${name}_*.cc)
  set(flags ${ARGN})
  if(name MATCHES "avx512")  # gcc 12 warns inside its own avx512fintrin.h
    list(APPEND flags -mprefer-vector-width=512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${flags}")
endfunction()
