# Toolchain of `cmake --preset aarch64`: Debian's cross compiler g++-aarch64-linux-gnu, and
# qemu-user to run what it builds.  fmt, Eigen, nlohmann-json, CLI11 and Catch2 2 are headers
# here, so the packages of the building machine serve.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

# Debian keeps fmt's package file in a folder of the building machine's architecture.
if(NOT fmt_DIR)
  file(GLOB fmt_DIR /usr/lib/*/cmake/fmt)
endif()
