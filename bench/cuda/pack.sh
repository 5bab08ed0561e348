#!/usr/bin/env bash
# What bench/cuda/run.sh needs of a build folder, for a machine that cannot build: copied to DIR without
# debug information, a few megabytes.  There: bench/cuda/run.sh DIR, in a checkout of the same sources.
#   usage: bench/cuda/pack.sh BUILD DIR
set -eu
build=$1 out=$2
mkdir -p "$out" && out=$(cd "$out" && pwd)
cd "$build"
files=(libv4infer-cuda.so
  tests/test_cuda_on_device tests/test_cuda_forward tests/test_cuda_session tests/test_kernels
  cuda_kernels_bench cuda_step_bench cuda_same_text linear_bench)
mkdir -p "$out/tests"
for f in "${files[@]}"; do
  cp -L "$f" "$out/$f"
  strip --strip-unneeded "$out/$f"
done
# Google Benchmark, which is not installed everywhere.
for so in $(ldd linear_bench | awk '/libbenchmark/ { print $3 }'); do cp -L "$so" "$out/"; done
touch "$out/packed"
du -sh "$out"
