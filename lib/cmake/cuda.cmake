# CUDA: the build id that libv4infer and its plug-in share, and, with V4I_CUDA, the plug-in
# libv4infer-cuda.so with the compiled kernels inside.
#
# libv4infer always has the code that opens the plug-in; the plug-in alone needs nvcc to be built.
# Neither links anything of CUDA: the driver is opened at run time.
include(GNUInstallDirs)

# The build id: a hash of all that defines what passes between the two, the kernels included.
file(GLOB_RECURSE cuda_files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
     ${PROJECT_SOURCE_DIR}/kernels/cuda/*.h ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cc
     ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cuh ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
list(APPEND cuda_files kernels/formats.h lib/tensor/weight.h)
list(SORT cuda_files)
set(cuda_hashes "")
foreach(file IN LISTS cuda_files)
  file(SHA256 ${PROJECT_SOURCE_DIR}/${file} hash)
  string(APPEND cuda_hashes "${file} ${hash}\n")
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
               ${PROJECT_SOURCE_DIR}/${file})
endforeach()
string(SHA256 V4I_CUDA_BUILD_ID "${cuda_hashes}")
string(SUBSTRING ${V4I_CUDA_BUILD_ID} 0 16 V4I_CUDA_BUILD_ID)
set_source_files_properties(${PROJECT_SOURCE_DIR}/lib/forward/cuda/library.cc PROPERTIES
  COMPILE_DEFINITIONS V4I_CUDA_BUILD_ID="${V4I_CUDA_BUILD_ID}")
# For what stands in for the plug-in: the emulator of the tests.
add_library(v4i_cuda_build_id INTERFACE)
target_compile_definitions(v4i_cuda_build_id INTERFACE V4I_CUDA_BUILD_ID="${V4I_CUDA_BUILD_ID}")

# v4i_cuda_plugin(NAME images.cc definitions...): the driver code with a table of images
# (kernels/cuda/driver/images.h) as a library to be opened at run time.
set(cuda_driver ${PROJECT_SOURCE_DIR}/kernels/cuda/driver)
file(GLOB cuda_common CONFIGURE_DEPENDS ${cuda_driver}/*.cc)
list(REMOVE_ITEM cuda_common ${cuda_driver}/api.cc ${cuda_driver}/functions.cc)
add_library(v4i_cuda_driver OBJECT EXCLUDE_FROM_ALL ${cuda_common})
target_link_libraries(v4i_cuda_driver PRIVATE v4i_options)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/cuda/plugin.map
     CONTENT "{ global: v4i_cuda_plugin; local: *; };\n")
function(v4i_cuda_plugin name images)
  set(driver ${PROJECT_SOURCE_DIR}/kernels/cuda/driver)
  add_library(${name} MODULE ${driver}/api.cc ${driver}/functions.cc ${images}
              $<TARGET_OBJECTS:v4i_cuda_driver>)
  target_compile_definitions(${name} PRIVATE ${ARGN})
  target_link_libraries(${name} PRIVATE v4i_options ${CMAKE_DL_LIBS})
  if(WIN32)
    return()
  endif()
  target_link_options(${name} PRIVATE LINKER:--version-script=${PROJECT_BINARY_DIR}/cuda/plugin.map
                      LINKER:--exclude-libs,ALL)
  if(NOT V4I_SANITIZE)
    target_link_options(${name} PRIVATE LINKER:-z,defs)
  endif()
endfunction()

if(NOT V4I_CUDA)
  return()
endif()

set(V4I_CUDA_TARGETS 80 86 89 90 100 120 CACHE STRING
    "Compute capabilities that the plug-in has code for; a newer minor one runs the code too")
find_program(V4I_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin
             DOC "The CUDA compiler, of toolkit 13.0 or later")
if(NOT V4I_NVCC)
  message(FATAL_ERROR "V4I_CUDA is ON, but there is no nvcc: install the CUDA toolkit 13.0 or later and put "
                      "its bin folder on PATH, or give -DV4I_NVCC=/path/to/nvcc.  Without V4I_CUDA "
                      "everything but the plug-in libv4infer-cuda.so is built.")
endif()
execute_process(COMMAND ${V4I_NVCC} --version OUTPUT_VARIABLE cuda_version ERROR_VARIABLE cuda_version)
string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" cuda_version "${cuda_version}")
set(cuda_version ${CMAKE_MATCH_1})
if(NOT cuda_version VERSION_GREATER_EQUAL 13.0)
  message(FATAL_ERROR "V4I_CUDA needs the CUDA toolkit 13.0 or later; ${V4I_NVCC} is ${cuda_version}.")
endif()

# One fat binary per kernels/cuda/*.cu, with code for every target.
set(cuda_flags -std=c++20 -O3 -Werror all-warnings --threads 2 -compress-mode=size
    -I${PROJECT_SOURCE_DIR})
set(cuda_target_list "")
list(JOIN V4I_CUDA_TARGETS " " cuda_target_names)
foreach(target IN LISTS V4I_CUDA_TARGETS)
  list(APPEND cuda_flags -gencode=arch=compute_${target},code=sm_${target})
  string(APPEND cuda_target_list "${target}, ")
endforeach()
file(GLOB cuda_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
if(NOT cuda_kernels)
  message(FATAL_ERROR "V4I_CUDA is ON, but kernels/cuda holds no .cu file.")
endif()
set(cuda_images "")
set(cuda_symbols "")
set(cuda_table "")
set(cuda_binaries "")
foreach(source IN LISTS cuda_kernels)
  cmake_path(GET source STEM name)
  set(binary ${PROJECT_BINARY_DIR}/cuda/${name}.fatbin)
  add_custom_command(OUTPUT ${binary}
    COMMAND ${V4I_NVCC} ${cuda_flags} -fatbin -MD -MF ${binary}.d -MT ${binary} -o ${binary} ${source}
    DEPENDS ${source} DEPFILE ${binary}.d VERBATIM
    COMMENT "nvcc ${name}.cu: sm ${cuda_target_names}")
  list(APPEND cuda_binaries ${binary})
  string(APPEND cuda_images "V4I_IMAGE(v4i_cuda_image_${name}, \"${binary}\")\n")
  string(APPEND cuda_symbols "extern \"C\" V4I_HIDDEN const unsigned char v4i_cuda_image_${name}[];\n")
  string(APPEND cuda_table "    {\"${name}\", v4i_cuda_image_${name}},\n")
endforeach()
list(LENGTH cuda_kernels cuda_image_count)
list(LENGTH V4I_CUDA_TARGETS cuda_target_count)
set(cuda_source ${PROJECT_BINARY_DIR}/cuda/images.cc)
configure_file(${cuda_driver}/images.inc ${cuda_source} @ONLY)
set_source_files_properties(${cuda_source} PROPERTIES OBJECT_DEPENDS "${cuda_binaries}")

v4i_cuda_plugin(v4infer_cuda ${cuda_source} V4I_CUDA_BUILD_ID="${V4I_CUDA_BUILD_ID}")
set_target_properties(v4infer_cuda PROPERTIES OUTPUT_NAME v4infer-cuda CXX_COMPILER_LAUNCHER "")
if(WIN32)
  set_target_properties(v4infer_cuda PROPERTIES PREFIX "" SUFFIX ".dll")
  install(TARGETS v4infer_cuda DESTINATION ${CMAKE_INSTALL_BINDIR})
else()
  set_target_properties(v4infer_cuda PROPERTIES PREFIX "lib" SUFFIX ".so")
  install(TARGETS v4infer_cuda DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# cmake --build ... --target cuda_resources: registers, spills and instructions, checked and written
# to cuda/resources.md.
find_package(Python3 QUIET COMPONENTS Interpreter)
file(REAL_PATH ${V4I_NVCC} cuda_bin)
cmake_path(GET cuda_bin PARENT_PATH cuda_bin)
find_program(V4I_CUOBJDUMP cuobjdump HINTS ${cuda_bin} DOC "Of the CUDA toolkit; for cuda_resources")
if(V4I_CUOBJDUMP AND Python3_FOUND)
  set(stamp ${PROJECT_BINARY_DIR}/cuda/resources.stamp)
  set(script ${PROJECT_SOURCE_DIR}/kernels/cuda/resources.py)
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${Python3_EXECUTABLE} ${script} --cuobjdump ${V4I_CUOBJDUMP} --check
            --write ${PROJECT_BINARY_DIR}/cuda/resources.md ${cuda_binaries}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    BYPRODUCTS ${PROJECT_BINARY_DIR}/cuda/resources.md
    DEPENDS ${cuda_binaries} ${script} VERBATIM COMMENT "registers, spills and instructions of the kernels")
  add_custom_target(cuda_resources DEPENDS ${stamp})
else()
  add_custom_target(cuda_resources VERBATIM COMMAND ${CMAKE_COMMAND} -E echo
    "cuda: registers and spills are not checked, as there is no cuobjdump, a part of the CUDA toolkit")
endif()
add_dependencies(cuda_resources v4infer_cuda)
