#!/usr/bin/env bash
# Configures the release preset when needed and builds one target of it.
#   usage: build.sh TARGET
set -eu
cd "$(dirname "$0")/../.."
lib/cmake/bootstrap.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# CMake reconfigures by itself when its inputs change; the first time we do it.
if [ ! -f build/release/build.ninja ]; then
  echo "configuring build/release"
  cmake --preset release >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
cmake --build build/release --target "$1"
