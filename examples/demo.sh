#!/usr/bin/env bash
# make demo: lets a small model talk through the v4infer command.
#   usage: demo.sh BUILD_DIR
#
# No trained model is part of this repository, so the demo writes one with random
# weights in the official layout.  What it shows is the whole path: open, tokenize,
# prefill, decode, stream.
set -eu
cd "$(dirname "$0")/.."
command=$1/v4infer
model=build/demo

# The numpy that CMake found for the tests.
python=$(sed -n 's/^V4I_PYTHON:[A-Z]*=//p' "$1/CMakeCache.txt")

made_by=$(cksum tests/oracle/make_tiny_v4.py tests/tokenizer/golden/tokenizer_512.json)
if [ "$(cat "$model/made-by" 2>/dev/null)" != "$made_by" ]; then
  echo "demo: writing a small random model to $model"
  rm -rf "$model"
  mkdir -p "$model"
  "$python" tests/oracle/make_tiny_v4.py "$model" 7 >/dev/null
  cp tests/tokenizer/golden/tokenizer_512.json "$model/tokenizer.json"
  echo "$made_by" >"$model/made-by"
fi

show() { echo; echo "\$ $*"; "$@"; }
show "$command" inspect "$model"
show "$command" run "$model" --prompt "Once upon a time" --max-tokens 48
echo
echo "The model above has random weights: its text is noise, and is meant to be."
echo "With an official DeepSeek-V4 checkpoint:  $command chat path/to/DeepSeek-V4-Flash"
