#!/usr/bin/env bash
# The kernels of COMMIT (A) against those of the work tree (B); further arguments go to kernel_ab.
#   usage: bench/ab/ab.sh COMMIT [BUILD] [-- --only expert --repeat 25]
# COMMIT must have bench/ab.  BENCH_PREFIX is put before the measurement.
set -euo pipefail
cd "$(dirname "$0")/../.."
commit=$1 build=build/release
shift
if [[ $# -gt 0 && $1 != -- ]]; then
  build=$1
  shift
fi
[[ ${1:-} == -- ]] && shift
old=$(mktemp -d)
trap 'git worktree remove --force "$old" 2>/dev/null; rm -rf "$old"' EXIT
git worktree add --quiet --detach "$old" "$commit"
cmake -S "$old" -B "$old/build" -DCMAKE_BUILD_TYPE=Release -DV4I_BENCH=ON -DV4I_TESTS=OFF >/dev/null
cmake --build "$old/build" --target v4i_kernels_ab >/dev/null
cmake --build "$build" --target v4i_kernels_ab kernel_ab >/dev/null
${BENCH_PREFIX:-} "$build/kernel_ab" "$old/build/libv4i_kernels_ab.so" "$build/libv4i_kernels_ab.so" "$@"
