#!/usr/bin/env bash
# Compiles the CUDA kernels for all targets in build/cuda-kernels and checks registers and
# instructions.  No GPU is needed.  What has not changed is not compiled again.
#   exit 77: there is no CUDA compiler; it says how to get one
set -u
cd "$(dirname "$0")/../.."

nvcc=$(PATH="${CUDA_HOME:-/usr/local/cuda}/bin:$PATH:/usr/local/cuda/bin" command -v nvcc)
version=$([ -n "$nvcc" ] && "$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
if [ "${version:-0}" -lt 13 ]; then
  found="there is no nvcc"
  [ -n "$nvcc" ] && found="$nvcc is of CUDA ${version:-unknown}"
  echo "cuda: skipped compiling the kernels for GPUs: $found.  It takes nvcc 13.0 or later:" \
       "https://developer.nvidia.com/cuda-downloads, packages cuda-nvcc-13-0 and cuda-cudart-dev-13-0"
  exit 77
fi

build=build/cuda-kernels  # build/cuda may have been told to compile for one target
mkdir -p build
exec 9>$build.lock
if command -v flock >/dev/null; then flock 9; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() { "$@" >"$log" 2>&1 || { cat "$log" >&2; echo "cuda: failed" >&2; exit 1; }; }

if [ ! -f $build/build.ninja ]; then
  run cmake --preset cuda -B $build "-DV4I_NVCC=$nvcc" -DV4I_TESTS=OFF -DV4I_TOOLS=OFF
fi
run cmake --build $build --target v4infer_cuda
compiled=$(grep -c 'nvcc .*\.cu:' "$log")
targets=$(sed -nE 's/.*\.cu: sm ([0-9 ]+)$/\1/p' "$log" | tail -n 1)
run cmake --build $build --target cuda_resources
if [ "$compiled" -gt 0 ]; then
  echo "cuda: compiled $compiled files of kernels for sm $targets in $SECONDS s"
else
  echo "cuda: kernels are compiled for all targets; nothing has changed"
fi
grep -h '^cuda:\|^ok:' "$log" | head -n 1
