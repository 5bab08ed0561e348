# What lib/store takes from others, both optional, static and hidden in libv4infer:
#   liburing   reads through io_uring; without it threads read
#   SQLite     the index of the disk tier; without it there is no disk tier
# A package counts when a program can be linked with it, so that a cross compiler is not given
# those of the building machine.
include(CheckCXXSourceCompiles)

function(v4i_package name header archive links code)
  find_path(V4I_${name}_INCLUDE ${header})
  find_library(V4I_${name}_LIBRARY ${archive})
  if(V4I_${name}_INCLUDE AND V4I_${name}_LIBRARY)
    set(CMAKE_REQUIRED_INCLUDES ${V4I_${name}_INCLUDE})
    set(CMAKE_REQUIRED_LIBRARIES ${V4I_${name}_LIBRARY} ${links})
    check_cxx_source_compiles("#include <${header}>\nint main() { ${code} }" V4I_${name}_LINKS)
  endif()
  if(V4I_${name}_LINKS)
    target_compile_definitions(v4i_store PRIVATE V4I_HAS_${name})
    target_include_directories(v4i_store SYSTEM PRIVATE ${V4I_${name}_INCLUDE})
    target_link_libraries(v4i_store PRIVATE ${V4I_${name}_LIBRARY} ${links})
  endif()
endfunction()

v4i_package(URING liburing.h liburing.a "" "io_uring ring; return io_uring_queue_init(1, &ring, 0);")
v4i_package(SQLITE sqlite3.h libsqlite3.a "m;${CMAKE_DL_LIBS}" "return sqlite3_initialize();")
