#!/usr/bin/env bash
# Runs the soak at several budgets, each in a memory cgroup of the budget and 256 MiB (v1 or v2,
# whichever is mounted and may be written; without one it says so and goes on).
#   usage: run.sh SOAK MODEL SECONDS THREADS MIB...
#   V4I_SOAK_STORIES (4), V4I_SOAK_TOKENS (2000), V4I_SOAK_FOLDER (of the disk tier; a new one)
set -eu
soak=$1 model=$2 seconds=$3 threads=$4
shift 4
stories=${V4I_SOAK_STORIES:-4} tokens=${V4I_SOAK_TOKENS:-2000}
work=${V4I_SOAK_FOLDER:-$(mktemp -d)}
mkdir -p "$work"
truth=$work/truth-$stories-$tokens
"$soak" truth "$model" "$truth" "$stories" "$tokens"

group=
new_group() {  # of $1 bytes
  group=
  for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    for limit in memory.limit_in_bytes memory.max; do
      [ -w "$root" ] || continue
      mkdir "$root/v4i-soak-$$" 2>/dev/null || continue
      group=$root/v4i-soak-$$
      if [ -e "$group/$limit" ] && echo "$1" 2>/dev/null >"$group/$limit"; then return; fi
      rmdir "$group"
      group=
    done
  done
  echo "no memory cgroup can be made here: without one" >&2
}

failed=0
for mib in "$@"; do
  rm -rf "$work/tier"
  new_group $(((mib + 256) << 20))
  status=0
  (
    [ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
    exec "$soak" run "$model" "$truth" "$work" $((mib << 20)) "$seconds" "$threads" "$mib"
  ) || status=$?
  if [ -n "$group" ]; then
    kills=$(sed -n 's/^oom_kill //p' "$group/memory.oom_control" "$group/memory.events" 2>/dev/null || true)
    peak=$(cat "$group/memory.max_usage_in_bytes" "$group/memory.peak" 2>/dev/null || true)
    echo "  cgroup of $((mib + 256)) MiB: $((${peak:-0} >> 20)) MiB at most, page cache included; ${kills:-0} killed"
    rmdir "$group"
  fi
  [ "$status" = 0 ] || { echo "  exit code $status"; failed=1; }
done
rm -rf "$work/tier"
[ -n "${V4I_SOAK_FOLDER:-}" ] || rm -rf "$work"
exit $failed
