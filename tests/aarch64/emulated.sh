#!/usr/bin/env bash
# Builds for aarch64 and runs what was built.  Exit 77: not possible here, and a sentence why.
#   usage: emulated.sh build TARGET...           cross-builds in build/aarch64
#          emulated.sh run CPU PROGRAM ARG...    a program of build/aarch64 under qemu -cpu CPU
#          emulated.sh check SCRIPT FILES        a Python script on files of build/aarch64
#          emulated.sh bits PROGRAM              the bits that PROGRAM and its twin print are equal
set -eu
cd "$(dirname "$0")/../.."
what=$1
shift

skip() {
  echo "skipped: $1"
  exit 77
}
for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null ||
    skip "$tool is not installed (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)"
done
echo '#include <catch2/catch.hpp>' | aarch64-linux-gnu-g++ -E -x c++ - >/dev/null 2>&1 ||
  skip "there is no Catch2 version 2, whose code is in its headers, to build for aarch64"

case $what in
  build)
    if [ ! -f build/aarch64/build.ninja ]; then
      log=$(cmake --preset aarch64 "-DV4I_PYTHON=$V4I_PYTHON" 2>&1) || { echo "$log" && exit 1; }
    fi
    cmake --build build/aarch64 --target "$@"
    ;;
  run)
    cpu=$1
    program=$2
    shift 2
    exec qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu "build/aarch64/$program" "$@"
    ;;
  bits)
    here=$("$1" "[.bits]" | grep '^bits' | sort -u) ||
      skip "this processor has no instruction set with tables of sixteen lanes"
    there=$("$0" run max tests/test_kernels "[.bits]" | grep '^bits' | sort -u)
    diff <(echo "$here") <(echo "$there") || exit 1
    echo "ok: $(wc -l <<<"$here") results with the same bits on both processors"
    ;;
  check)
    script=$1
    shift
    cd build/aarch64
    exec "$V4I_PYTHON" "../../$script" $(compgen -G "$1")
    ;;
esac
