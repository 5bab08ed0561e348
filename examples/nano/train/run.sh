#!/usr/bin/env bash
# Trains a nano model, or goes on training it, for at most MINUTES; one command from seeds to file.
#   usage: run.sh CONFIG [MINUTES]      CONFIG: small (CPU cores) or full (one GPU)
#
# Everything lies in $NANO_WORK (default: build/nano): corpus/, parts/, CONFIG/{state,log.csv,model}.
# Steps that are done are not repeated.  Needs PyTorch; to make the data also apt-get, dpkg-deb
# and the Python package tokenizers (not needed where parts/ was carried along).
# NANO_PARTS (default 4) parts of NANO_MTOKENS (default 15) million tokens are made.
# NANO_TOKENS: train on so many tokens instead of the plan's (the same in every piece of a run).
set -eu
config=$1 minutes=${2:-9}
cd "$(dirname "$0")/.."
work=${NANO_WORK:-../../build/nano}
python=${NANO_PYTHON:-python3}
mkdir -p "$work"

for number in $(seq 1 "${NANO_PARTS:-4}"); do
  part=$work/parts/part-$(printf %03d "$number")
  [ -e "$part/starts.npy" ] && continue
  [ -e "$work/corpus/SOURCES.json" ] || "$python" -m data.gather "$work/corpus"
  "$python" -m data.build "$work/corpus" tokenizer.json "$work/parts" "$number" "${NANO_MTOKENS:-15}"
done

# Large buffers are kept instead of being returned to the system after each use.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
exec "$python" -m train.train --config "$config" --data "$work/parts" --tokenizer tokenizer.json \
  --out "$work/$config" --minutes "$minutes" --threads "${NANO_THREADS:-0}" ${NANO_TOKENS:+--tokens "$NANO_TOKENS"}
