# What the parts of run.sh do: functions do_NAME, each in a process of its own.  Sourced.
#
# Exit code 77: nothing to do on this machine; the last line says why.

not_here() {
  echo "$1"
  exit 77
}

# FUNCTION x SECONDS for every x, JOBS at a time; a log for each.
each() { # NAME JOBS FUNCTION SECONDS x...
  local name=$1 at_once=$2 function=$3 most=$4 x bad=0 failed_ones=
  shift 4
  for x in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do wait -n; done
    {
      timeout -k 5 "$most" bash -c 'source bench/cuda/steps.sh; "$@"' steps "$function" "$x" \
        >"$results/logs/$name-$x.txt" 2>&1 </dev/null
      echo "$?" >"$scratch/$name-$x.code"
    } &
  done
  wait
  for x in "$@"; do
    [ "$(cat "$scratch/$name-$x.code")" -eq 0 ] && continue
    bad=$((bad + 1))
    echo "==== $x ended with $(cat "$scratch/$name-$x.code"):"
    tail -40 "$results/logs/$name-$x.txt"
    failed_ones+=" $x"
  done
  echo "$(($# - bad)) of $# passed${failed_ones:+; not:$failed_ones}"
  [ "$bad" -eq 0 ]
}

# ---- what is needed
do_build() {
  [ -f "$build/packed" ] && not_here "packed elsewhere, used as it is"
  local preset=cuda plugin=v4infer_cuda
  $dry && preset=release plugin=v4infer-cuda-emulated
  grep -qs '^V4I_BENCH:BOOL=ON' "$build/CMakeCache.txt" ||
    cmake --preset "$preset" -B "$build" -DV4I_BENCH=ON || return 1
  cmake --build "$build" --target $plugin test_cuda_on_device test_cuda_forward test_cuda_session \
    test_kernels cuda_kernels_bench cuda_step_bench cuda_same_text linear_bench || return 1
  echo "built"
}

do_device() {
  "$build/cuda_kernels_bench" --info --library "$library" >"$results/device.txt" || return 1
  {
    grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'
    echo "$(nproc) processors; $(grep -oE 'avx512f|avx512_bf16|avx_vnni|amx_bf16' /proc/cpuinfo | sort -u |
      tr '\n' ' ')"
    uname -sr
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,pstate \
      --format=csv,noheader
  } >>"$results/device.txt"
  cat "$results/device.txt"
  command -v nvidia-smi >/dev/null && nvidia-smi
  head -1 "$results/device.txt"
}

# True widths and one layer of each kind, but few experts.
do_slice() {
  [ -n "$python" ] || not_here "no Python with numpy here"
  if $dry; then
    "$python" tests/oracle/make_tiny_v4.py "$scratch/slice"
  else
    "$python" tests/oracle/make_slice.py "$scratch/slice" --layers 4 --experts 64
  fi
}

# ---- tests
kernel_tests() { "$build/tests/test_cuda_on_device" -# "[#$1]"; } # of one file of tests/cuda

do_tests() {
  local tags
  tags=$("$build/tests/test_cuda_on_device" -# --list-tags | sed -nE 's/.*\[#(.*)\].*/\1/p')
  [ -n "$tags" ] || { echo "test_cuda_on_device lists no tests"; return 1; }
  each tests 4 kernel_tests 75 $tags
}

do_forward() {
  local -a which=()
  $dry && which=("a token id outside the vocabulary*,a cancelled run*")
  "$build/tests/test_cuda_forward" -d yes ${which[@]+"${which[@]}"}
}

do_session() {
  local -a which=()
  $dry && which=("a restored session has*")
  "$build/tests/test_cuda_session" -d yes ${which[@]+"${which[@]}"}
}

do_text() { # the small model's answers
  local -a options=(--answers tests/nano/golden/answers.json --library "$library")
  $dry && options+=(--most 1)
  "$build/cuda_same_text" examples/nano/model "${options[@]}"
}

# ---- compute-sanitizer
sanitize() { # TOOL, then the program
  local -a options=(--tool "$1" --error-exitcode 9)
  # A kernel's name is looked for in every image: those that have it not answer with an API error.
  [ "$1" = memcheck ] && options+=(--report-api-errors no)
  V4I_CUDA_SCHEDULES=1 compute-sanitizer "${options[@]}" "${@:2}"
}
memcheck() {
  if [ "$1" = model ]; then
    sanitize memcheck "$build/tests/test_cuda_forward" "a session in a batch with three others*"
  else
    sanitize memcheck "$build/tests/test_cuda_on_device" -# "[#$1]"
  fi
}
racecheck() { sanitize racecheck "$build/tests/test_cuda_on_device" -# "[#$1]"; }

need_sanitizer() {
  $dry && not_here "the emulated device has its own checks"
  command -v compute-sanitizer >/dev/null || not_here "no compute-sanitizer here"
}
do_memcheck() {
  need_sanitizer
  each memcheck 6 memcheck 60 model attention_test indexer_test rows_test select_test streams_test
}
do_racecheck() {
  need_sanitizer
  each racecheck 6 racecheck 50 norm_test router_test rows_test select_test streams_test compressor_test
}

# ---- measuring
families() { # CSV FAMILY...: measures them; where one takes the device down, goes on with those after it
  local csv=$1 code worst=0 bad
  shift
  : >"$csv"
  while [ $# -gt 0 ]; do
    "$build/cuda_kernels_bench" --library "$library" --only "$(IFS=,; echo "$*")" \
      ${peak:+--peak "$peak"} $($dry && echo --dry) --csv "$scratch/family.csv" 2>"$scratch/family.txt"
    code=$?
    cat "$scratch/family.txt"
    if [ -s "$csv" ]; then # the floors are there already
      grep -vE '^(kernel|copy|fill|pick),' "$scratch/family.csv" >>"$csv"
    else
      cat "$scratch/family.csv" >"$csv"
    fi
    [ $code -ne 0 ] && worst=$code
    [ $code -ne 3 ] && break
    bad=$(sed -n 's/^measuring: //p' "$scratch/family.txt" | tail -1)
    while [ $# -gt 0 ] && [ "$1" != "$bad" ]; do shift; done
    [ $# -gt 0 ] && shift
  done
  return $worst
}

do_kernels() {
  local peak= code
  if ! $dry && [ -n "$python" ] && peak=$(timeout 40 "$python" bench/cuda/peaks.py); then
    echo "$peak" | tee "$results/bf16_peak.txt"
  fi
  families "$results/kernels.csv" products experts attention indexer sparse rows streams router
  code=$?
  echo "$(wc -l <"$results/kernels.csv") lines"
  return $code
}

do_models() {
  [ -f "$scratch/slice/config.json" ] || { echo "there is no slice"; return 1; }
  local gbs= code
  local -a options=(--prompts 512,4096 --contexts 512,4096,131072,1048576 --sessions 1,8 --tokens 64)
  $dry && options=(--prompts 16 --contexts 16,256 --sessions 1,2 --tokens 2 --repeat 1 --chunk 16)
  [ -f "$results/kernels.csv" ] &&
    gbs=$(awk -F, '/^copy,"?on the device/ { print $9 }' "$results/kernels.csv")
  echo "backend,experts on device,bench,context,sessions,part,seconds,bytes,flops" \
    >"$results/model_parts.csv"
  "$build/cuda_step_bench" "$scratch/slice" --library "$library" --shares 1,0.25 "${options[@]}" \
    --parts "$results/model_parts.csv" ${gbs:+--bandwidth "$gbs"} >"$results/models.csv"
  code=$?
  cat "$results/models.csv"
  echo "$(grep -c prefill "$results/models.csv") prompts, $(grep -c decode "$results/models.csv") decodes"
  return $code
}

# ---- the CPU engine
need_new_cpu() {
  $dry || grep -qE 'avx512_bf16|avx_vnni|amx_' /proc/cpuinfo ||
    not_here "this processor has no AVX-512 bf16, AVX-VNNI or AMX"
}

do_cpu_tests() { # every kernel table of this processor
  need_new_cpu
  "$build/tests/test_kernels" $($dry && echo '[bits]')
}

do_cpu_kernels() {
  need_new_cpu
  local what='(read|dot_peak|linear/.*(fp8|fp4|bf16|int8)/4096/(1|12|512))' time=0.05
  $dry && what='read' time=0.01
  "$build/linear_bench" --benchmark_filter="$what" --benchmark_min_time=$time \
    --benchmark_format=csv >"$results/cpu_linear.csv" || return 1
  echo "$(wc -l <"$results/cpu_linear.csv") lines"
}

do_cpu_models() {
  need_new_cpu
  [ -f "$scratch/slice/config.json" ] || { echo "there is no slice"; return 1; }
  local threads header=
  local -a options=(--prompts 64 --contexts 64 --tokens 8 --repeat 1 --chunk 512)
  $dry && options=(--prompts 16 --contexts 16 --tokens 2 --repeat 1 --chunk 16)
  for threads in 1 2 4 8 16; do
    [ "$threads" -gt "$(nproc)" ] && break
    "$build/cuda_step_bench" "$scratch/slice" --backend cpu --threads "$threads" "${options[@]}" \
      $header >>"$results/cpu_models.csv" || return 1
    header=--no-header
  done
  cat "$results/cpu_models.csv"
  echo "$(grep -c decode "$results/cpu_models.csv") numbers of threads"
}
