#!/usr/bin/env bash
# make test: builds all, runs all, and ends with one line "N passed, N failed".
#   usage: run.sh BUILD_DIR
set -u
cd "$(dirname "$0")/../.."
[ "$(uname -m)" = aarch64 ] || lib/cmake/bootstrap.sh --optional g++-aarch64-linux-gnu qemu-user
lib/cmake/bootstrap.sh --optional redis-server libhiredis-dev
lib/cmake/build.sh all || { echo "0 passed, 1 failed"; exit 1; }
lib/cmake/cuda.sh  # says what it does; the test cuda.kernels is the same call and counts it

log=$(mktemp)
trap 'rm -f "$log"' EXIT
ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$(nproc)" | tee "$log"
status=${PIPESTATUS[0]}

# "98% tests passed, 1 tests failed out of 50" (singular or plural, by version)
read -r failed total < <(sed -nE 's/.*tests passed, ([0-9]+) tests? failed out of ([0-9]+).*/\1 \2/p' "$log")
if [ -z "${total:-}" ]; then
  echo "0 passed, 1 failed"
  exit 1
fi
echo "$((total - failed)) passed, $failed failed"
exit "$status"
