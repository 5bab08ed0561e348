"""Ours and peers on the same checkpoint, alternating; prints medians and ratios.

usage: compare.py --ours 'v4infer bench MODEL --json --prefill 512 --decode 32 --repeat 1' \
                  --peer llama.cpp='python3 peer_llama.py MODEL.gguf --repeat 1' [--rounds 3] [--csv FILE]

Every command prints one JSON object with prefill_tokens_per_s and decode_tokens_per_s.
What BENCH_PREFIX holds (numactl, chrt, a lock) is put before each.  Files of all must
fit the page cache together, else each round measures the disk.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess

KEYS = ('decode_tokens_per_s', 'prefill_tokens_per_s')


def run(command):
    words = shlex.split(os.environ.get('BENCH_PREFIX', '')) + shlex.split(command)
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--ours', required=True)
    parser.add_argument('--peer', action='append', default=[], help='NAME=COMMAND')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--csv')
    a = parser.parse_args()
    commands = {'libv4infer': a.ours, **dict(p.split('=', 1) for p in a.peer)}
    found = {name: [] for name in commands}
    for _ in range(a.rounds):
        for name, command in commands.items():
            found[name].append(run(command))
            print(name, *(f'{key} {found[name][-1][key]:.2f}' for key in KEYS), flush=True)
    lines = ['engine,measure,median,min,max,ours_over_it']
    for name, runs in found.items():
        for key in KEYS:
            values = [r[key] for r in runs]
            ratio = [ours[key] / r[key] for ours, r in zip(found['libv4infer'], runs)]
            lines.append(f'{name},{key},{statistics.median(values):.3f},{min(values):.3f},'
                         f'{max(values):.3f},{statistics.median(ratio):.3f}')
    print('\n'.join(lines))
    if a.csv:
        with open(a.csv, 'w', encoding='ascii') as f:
            f.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
