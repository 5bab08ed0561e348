#!/usr/bin/env bash
# Installs the package into an empty place, moves it, and uses it as strangers do:
# CMake's find_package, plain cc with pkg-config, and Python's ctypes.
#   usage: package_test.sh BUILD_DIR SOURCE_DIR CMAKE CC PYTHON
set -eu
build=$1 source=$2 cmake=$3 cc=$4 python=$5
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$cmake" --install "$build" --prefix "$tmp/installed" >/dev/null
mv "$tmp/installed" "$tmp/moved here"
ln -s "moved here" "$tmp/moved"  # pkg-config words may not hold blanks
prefix=$tmp/moved

mkdir "$tmp/consumer"
cp "$source/tests/abi/consumer.c" "$tmp/consumer/"
cat >"$tmp/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(v4infer 1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE v4infer::v4infer)
END
"$cmake" -S "$tmp/consumer" -B "$tmp/consumer/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
"$cmake" --build "$tmp/consumer/build" >/dev/null
"$tmp/consumer/build/consumer" | sed 's/^/find_package: /'

pc=$(find "$prefix/" -name v4infer.pc)
export PKG_CONFIG_PATH=$(dirname "$pc")
read -ra flags <<<"$(pkg-config --cflags --libs v4infer)"
"$cc" "$tmp/consumer/consumer.c" -o "$tmp/plain" "${flags[@]}"
lib=$(dirname "$(find "$prefix/" -name libv4infer.so.1)")
LD_LIBRARY_PATH=$lib "$tmp/plain" | sed 's/^/pkg-config:   /'

"$python" - "$lib/libv4infer.so.1" <<'END'
import ctypes, os, struct, sys
lib = ctypes.CDLL(sys.argv[1])
lib.v4i_version_string.restype = ctypes.c_char_p
assert lib.v4i_abi_version() == 1
print("ctypes:      ", lib.v4i_version_string().decode())
# The plug-in of image files, where one was built, is found beside the library.
options = struct.pack("<II", 1024, 1).ljust(1024, b"\0")  # struct_size, abi_version; what is new is 0
engine, formats = ctypes.c_void_p(), ctypes.c_uint32()
assert lib.v4i_engine_create(options, ctypes.byref(engine), None) == 0
status = lib.v4i_engine_image_formats(engine, ctypes.byref(formats), None)
there = os.path.exists(os.path.join(os.path.dirname(sys.argv[1]), "libv4infer-images.so"))
assert status == (0 if there else -6) and (formats.value > 0) == there, (status, formats.value, there)
lib.v4i_engine_release(engine)
END

# Nothing but the interface, the library, its package files and the command.
unexpected=$(cd "$prefix/" && find . -type f -o -type l | grep -Ev \
  '^\./(include/v4infer/[a-z_0-9]+\.(h|hpp)|lib[^/]*(/[^/]+)?/(libv4infer\.so[.0-9]*|libv4infer-(cuda|images)\.so|cmake/v4infer/[^/]+\.cmake|pkgconfig/v4infer\.pc)|bin/v4infer)$' || true)
[ -z "$unexpected" ] || { echo "installed without being wanted: $unexpected"; exit 1; }
