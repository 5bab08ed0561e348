#!/usr/bin/env bash
# Everything that wants a GPU, in under 8 minutes: tests on the device, compute-sanitizer, kernels and
# whole models measured, the CPU engine of that machine.
#   usage: bench/cuda/run.sh [--dry] [BUILD]
#
# BUILD (default build/cuda) is a build folder of preset cuda with V4I_BENCH=ON: what is missing there
# is built, if cmake, nvcc and the libraries are installed.  Or a folder that pack.sh made of one: it is
# used as it is.  Results go to bench/results/<device>/, summary.md there lists the parts (steps.sh).  A
# part that fails or takes too long does not stop the others.  Exit code 0: all that ran passed.
#   --dry    the emulated device and small sizes, results in BUILD/cuda-dry: does this script work?
# Environment: RESULTS (another folder for them), ONLY=tests,kernels (parts by name), LIMIT=480 (seconds).
set -u
cd "$(dirname "$0")/../.."

export dry=false
[ "${1:-}" = --dry ] && { dry=true; shift; }
build=${1:-$($dry && echo build/release || echo build/cuda)}
mkdir -p "$build" && build=$(cd "$build" && pwd) || exit 1
library=$build/libv4infer-cuda.so
$dry && library=$build/tests/libv4infer-cuda-emulated.so
python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import numpy' 2>/dev/null && { python=$(command -v "$p"); break; }
done
scratch=$(mktemp -d "${TMPDIR:-/tmp}/v4infer-cuda.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
results=$scratch
export build library python scratch results

# What the tests read (tests/support/tiny_model.h, tests/cuda/on_device).
export V4INFER_CUDA_LIBRARY=$library V4INFER_TEST_CUDA_LIBRARY=$library
export V4INFER_TEST_SOURCE_DIR=$PWD V4INFER_TEST_PYTHON=$python
fixtures=$scratch/fixtures
[ -d "$build/tests/fixtures" ] && fixtures=$build/tests/fixtures
export V4INFER_TEST_FIXTURES=${V4INFER_TEST_FIXTURES:-$fixtures}
export LD_LIBRARY_PATH=$build${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

limit=${LIMIT:-480}
passed=0
failed=0
lines=()
beside=() # parts that run in the background

wanted() { [ -z "${ONLY:-}" ] || [[ ,$ONLY, == *,$1,* ]]; }

left_out() { # NAME WHY
  wanted "$1" || return 0
  lines+=("| $1 | left out | | $2 |")
  printf '%-12s left out: %s\n' "$1" "$2"
}

# The function do_NAME of steps.sh in a process of its own, with its output in logs/NAME.txt.
run_part() { # NAME SECONDS
  local start=$SECONDS most=$((limit - SECONDS))
  [ "$most" -gt "$2" ] && most=$2
  [ "$most" -lt 5 ] && { echo "124 0 $2" >"$scratch/$1.end"; return; }
  timeout -k 5 "$most" bash -c 'source bench/cuda/steps.sh; "do_$1"' steps "$1" \
    >"$results/logs/$1.txt" 2>&1 </dev/null
  echo "$? $((SECONDS - start)) $most" >"$scratch/$1.end"
}

report() { # NAME
  local code seconds most said how=passed
  read -r code seconds most <"$scratch/$1.end"
  said=$(grep -v '^[=. -]*$' "$results/logs/$1.txt" 2>/dev/null | tail -1 | cut -c1-110 | tr '|' '/')
  [ "$code" -ne 0 ] && how=FAILED
  [ "$code" -eq 124 ] && said="stopped after $seconds s; $said"
  if [ "$code" -eq 77 ]; then
    left_out "$1" "$said"
    return
  fi
  [ "$how" = passed ] && passed=$((passed + 1)) || failed=$((failed + 1))
  lines+=("| $1 | $how | $seconds s | $said |")
  printf '%-12s %-7s %3d s  %s\n' "$1" "$how" "$seconds" "$said"
}

part() { # NAME SECONDS
  wanted "$1" || return 0
  run_part "$@"
  report "$1"
}

part_beside() { # NAME SECONDS: together with the next parts, until join
  wanted "$1" || return 0
  run_part "$@" &
  beside+=("$1")
}

join() {
  wait
  local name
  for name in ${beside[@]+"${beside[@]}"}; do report "$name"; done
  beside=()
}

mkdir -p "$results/logs"
part build 240

# The folder for results is called as the device.
if [ -n "${RESULTS:-}" ]; then
  results=$RESULTS
elif $dry; then
  results=$build/cuda-dry
else
  name=$("$build/cuda_kernels_bench" --info --library "$library" 2>/dev/null | head -1 |
    tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g')
  results=bench/results/${name:-no-device}
fi
mkdir -p "$results/logs" && results=$(cd "$results" && pwd) || exit 1
rm -f "$results"/*.csv "$results"/logs/*.txt
[ -f "$scratch/logs/build.txt" ] && cp "$scratch/logs/build.txt" "$results/logs/"

part device 30
if wanted models || wanted cpu_models; then ONLY= part_beside slice 90; fi
part_beside forward 120
part_beside session 100
part tests 90
part text 40
join
part_beside racecheck 60
part memcheck 70
join
part kernels 120
part models 100
part cpu_tests 40
part cpu_kernels 30
part cpu_models 60

{
  echo "# $(head -1 "$results/device.txt" 2>/dev/null || echo "no device")"
  echo
  echo "Written by bench/cuda/run.sh$($dry && echo ' --dry') on $(date +%F)."
  echo
  echo '| part | result | time | last line of its log |'
  echo '| --- | --- | ---: | --- |'
  printf '%s\n' "${lines[@]}"
} >"$results/summary.md"
[ -n "$python" ] && "$python" bench/cuda/summary.py "$results" >>"$results/summary.md"
echo "$passed parts passed, $failed failed, $SECONDS s; ${results#"$PWD"/}/summary.md"
[ "$failed" -eq 0 ]
