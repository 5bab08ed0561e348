# The shared library v4infer (libv4infer.so.1) and what is installed with it.
#
# Only the functions of include/v4infer leave it: everything is compiled hidden,
# static layers are excluded, and a version script written from the header names
# the rest.  It exists as soon as lib/capi has sources.
get_target_property(kind v4i_capi TYPE)
if(kind STREQUAL "INTERFACE_LIBRARY")
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# V4INFER_1.0 { global: v4i_...; local: *; }: the functions of v4infer.h.
set(header ${PROJECT_SOURCE_DIR}/include/v4infer/v4infer.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
file(READ ${header} text)
string(REGEX MATCHALL "V4I_API [^;()]*(v4i_[a-z0-9_]+)\\(" found "${text}")
list(TRANSFORM found REPLACE "^.*(v4i_[a-z0-9_]+)[(]$" "\\1")
list(SORT found)
list(LENGTH found count)
if(count LESS 60)
  message(FATAL_ERROR "only ${count} functions found in ${header}; is its form still as expected?")
endif()
list(JOIN found "; " names)
set(map ${PROJECT_BINARY_DIR}/v4infer.map)
file(CONFIGURE OUTPUT ${map} CONTENT "V4INFER_1.0 { global: @names@; local: *; };\n" @ONLY)

# The objects of lib/capi, not its archive: --exclude-libs would hide what we export.
add_library(v4infer SHARED $<TARGET_OBJECTS:v4i_capi>)
add_library(v4infer::v4infer ALIAS v4infer)
set_target_properties(v4infer PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE CXX
  LINK_DEPENDS ${map})
target_link_libraries(v4infer PRIVATE v4i_session)
target_link_options(v4infer PRIVATE LINKER:--version-script=${map} LINKER:--exclude-libs,ALL)
if(NOT V4I_SANITIZE)
  target_link_options(v4infer PRIVATE LINKER:-z,defs)
endif()
if(V4I_SQLITE_LINKS)  # SQLite's only look at the environment: lib/store/disk_sql.cc
  target_link_options(v4infer PRIVATE LINKER:--wrap=getenv)
endif()
target_include_directories(v4infer INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

install(TARGETS v4infer EXPORT v4infer-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/v4infer DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/v4infer)
install(EXPORT v4infer-targets NAMESPACE v4infer:: FILE v4infer-targets.cmake DESTINATION ${package})
configure_package_config_file(${PROJECT_SOURCE_DIR}/lib/cmake/v4infer-config.cmake.in
  ${PROJECT_BINARY_DIR}/package/v4infer-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/v4infer-config-version.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/v4infer-config.cmake
              ${PROJECT_BINARY_DIR}/package/v4infer-config-version.cmake DESTINATION ${package})
file(RELATIVE_PATH pc_prefix /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(${PROJECT_SOURCE_DIR}/lib/cmake/v4infer.pc.in ${PROJECT_BINARY_DIR}/v4infer.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/v4infer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
