#!/usr/bin/env bash
# make demo: the model in examples/nano/model answers questions, one of them about a long text.
#   usage: demo.sh BUILD_DIR
#
# Everything is computed here and now, from the same command that runs a real checkpoint.  What
# the model can and cannot do was measured: examples/nano/MODEL_CARD.md.
set -eu
cd "$(dirname "$0")/.."
command=$1/v4infer
model=examples/nano/model
long=build/demo/long.txt

# The python that CMake found for the tests, or any; the generator needs nothing beside it.
python=$(sed -n 's/^V4I_PYTHON:[A-Z]*=//p' "$1/CMakeCache.txt")
[ -x "$python" ] || python=python3

# The first of the seeds "demo story N", never trained on.
story='Story: Tomas went to the tavern. Mara went to the barn. Esme walked to the bakery. The lantern was at the barn. The candle was at the bakery. The lantern was taken by Mara. The candle was taken by Esme. Tomas went to the market. Tomas went to the tavern. Mara walked to the tavern. The candle stayed at the bakery.'
question='Where is the lantern?'

echo
echo "A story, and a question about it:"
echo
echo "  $story" | fold -s -w 96 | sed '2,$s/^/  /'
echo "  $question"
echo
echo "\$ $command run $model --chat --greedy --stats --prompt '...'"
"$command" run "$model" --chat --greedy --max-tokens 60 --stats --prompt "$story

$question"

mkdir -p "${long%/*}"
(cd examples/nano && PYTHONDONTWRITEBYTECODE=1 "$python" -m data.demo) >"$long"
echo
echo "A code, told 16,000 tokens before it is asked for ($long):"
echo
echo "  $(grep -o 'The code of the tower is [0-9]*\.' "$long") ... $(tail -n 1 "$long")"
echo
echo "\$ $command run $model --chat --greedy --stats --prompt-file $long"
"$command" run "$model" --chat --greedy --max-tokens 20 --stats --prompt-file "$long"

cat <<EOF

It is small (4.7 million parameters) and had some hours on two shared CPU cores.  Measured on texts it was
never trained on: 91 % of 500 questions about stories, 100 % of those that ask where somebody is,
100 of 100 codes 1,000 tokens away, 20 of 20 at 16,000, and 92 % of 200 tool calls.  examples/nano/MODEL_CARD.md

Next:
  $command chat $model --greedy          talk with it; paste a story, then ask
  $command inspect $model                what is in the files
  $command bench $model                  how fast it is on this machine
  $command chat path/to/DeepSeek-V4-Flash   the same, with an official checkpoint
EOF
