#!/usr/bin/env bash
# make lint: every rule of this folder; the same scripts that ctest runs as lint.*
set -u
cd "$(dirname "$0")"
status=0
for script in layers.py sizes.py text.py; do
  python3 "$script" || status=1
done
exit "$status"
