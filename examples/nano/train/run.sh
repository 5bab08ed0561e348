#!/usr/bin/env bash
# Trains a nano model, or goes on training it, for at most MINUTES; one command from seeds to file.
#   usage: run.sh CONFIG [MINUTES]      CONFIG: small (CPU cores) or full (one GPU)
#
# Everything lies in $NANO_WORK (default: build/nano): corpus/, parts/, CONFIG/{state,log.csv,model}.
# Steps that are done are not repeated.  Needs PyTorch, and cc for fused.c; to make the data also apt-get, dpkg-deb
# and the Python package tokenizers (not needed where parts/ was carried along).
# NANO_PARTS (default 2) parts of NANO_MTOKENS (default 4) million tokens are made of each mix.
# NANO_TOKENS: train on so many tokens instead of the plan's; NANO_BUDGET: in so many minutes, all pieces
# together, whatever comes first (the same in every piece of a run).  NANO_RANKS: processes, one
# per core (default 1).
set -eu
config=$1 minutes=${2:-9}
cd "$(dirname "$0")/.."
work=${NANO_WORK:-../../build/nano}
python=${NANO_PYTHON:-python3}
mkdir -p "$work"

part() { # MIX NUMBER MTOKENS
  [ -e "$work/parts/$1-$(printf %03d "$2")/starts.npy" ] && return
  [ -e "$work/corpus/SOURCES.json" ] || "$python" -m data.gather "$work/corpus"
  "$python" -m data.build "$work/corpus" tokenizer.json "$work/parts" "$2" "$3" "$1"
}
part held 900 0.4
for mix in easy short long; do
  for number in $(seq 1 "${NANO_PARTS:-2}"); do
    part "$mix" "$number" "${NANO_MTOKENS:-4}"
  done
done

# Large buffers are kept instead of being returned to the system after each use.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
[ "${NANO_RANKS:-1}" = 1 ] || export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
exec "$python" -m train.train --config "$config" --data "$work/parts" --held "$work/parts/held-900" \
  --tokenizer tokenizer.json --out "$work/$config" --minutes "$minutes" --threads "${NANO_THREADS:-0}" \
  --ranks "${NANO_RANKS:-1}" ${NANO_TOKENS:+--tokens "$NANO_TOKENS"} ${NANO_BUDGET:+--budget "$NANO_BUDGET"}
