#!/usr/bin/env bash
# Measures everything that docs/performance.md says, writes it to OUTDIR and refreshes
# the tables of that page.
#   usage: bench/run.sh MODEL OUTDIR [BUILD]        (BUILD: build/release with V4I_BENCH=ON)
#
# MODEL should fit the page cache.  BENCH_PREFIX is put before every measurement
# (numactl, chrt, a lock); each takes a minute or less.  BENCH_ONLY=decode,batch limits
# the run to those of: bench fast avx2 start layers context prefill decode batch.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$1 out=$2 build=${3:-build/release}
only=,${BENCH_ONLY:-bench,fast,avx2,start,layers,context,prefill,decode,batch},
mkdir -p "$out"

wanted() { [[ $only == *,$1,* ]]; }
run() { ${BENCH_PREFIX:-} "$@"; }
bench() { # NAME arguments...
  local name=$1
  shift
  run "$build/v4infer" bench "$@" --json | sed -E 's|"model":"[^"]*/|"model":"|' >"$out/$name.json.new"
  mv "$out/$name.json.new" "$out/$name.json"
  echo "$name: done"
}
rows() { # CSV, then one command per value of its option: PROGRAM OPTION values...
  local csv=$1 program=$2 option=$3 header=
  shift 3
  for value in "$@"; do
    run "$build/$program" "$model" --repeat 3 "$option" "$value" $header >>"$out/$csv.new"
    header=--no-header
    echo "$program $option $value: done"
  done
  mv "$out/$csv.new" "$out/$csv"
}

{
  lscpu | grep -E '^(Model name|CPU\(s\)|L2 cache|L3 cache|Flags)' | sed -E 's/Flags:.*(avx512_bf16).*/bf16: \1/'
  uname -sr
  git describe --always --dirty
} >"$out/machine.txt"

wanted bench && bench bench "$model" --prefill 512 --decode 32 --repeat 3 --profile
wanted fast && bench fast "$model" --prefill 512 --decode 16 --repeat 3 --mode fast
wanted avx2 && bench avx2 "$model" --prefill 64 --decode 16 --repeat 3 --isa avx2
if wanted start; then
  run "$build/start_bench" "$model" --repeat 5 >"$out/start.csv.new"
  mv "$out/start.csv.new" "$out/start.csv"
  echo "start: done"
fi
if wanted layers; then
  half=$(mktemp -d)
  trap 'rm -rf "$half"' EXIT
  python3 bench/compare/first_layers.py "$model" "$half/model" 2
  run "$build/layer_bench" "$model" "$half/model" --repeat 3 >"$out/layers.csv.new"
  mv "$out/layers.csv.new" "$out/layers.csv"
  echo "layers: done"
fi
wanted context && bench context "$model" --prefill 64 --decode 8 --repeat 1 --context 4096
wanted prefill && rows prefill.csv prefill_bench --prompts 512 2048
wanted decode && rows decode.csv decode_bench --contexts 1024 4096 16384 65536 262144 1048576
wanted batch && rows batch.csv batch_bench --sessions 1 2 4 8 16
python3 bench/report.py "$out" docs/performance.md
