"""Tables of a folder of results that bench/cuda/run.sh wrote, as Markdown.

usage: summary.py RESULTS     prints them; files that are not there are left out.  Needs nothing but Python.
"""
import csv
import os
import sys

FLOORS = ('copy', 'fill', 'pick')
SHOWN = {1, 8, 16, 64, 512, 4096}  # tokens of the table of kernels


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding='ascii', newline='') as f:
        lines = [line for line in f if line.count(',') > 3]
    return list(csv.DictReader(lines))


def table(title, head, rows):
    if not rows:
        return
    print(f'\n## {title}\n')
    for line in (head, ['---'] + ['---:'] * (len(head) - 1), *rows):
        print('| ' + ' | '.join(str(c) for c in line) + ' |')


def number(text, digits=1):
    return f'{float(text):.{digits}f}' if text not in (None, '') else ''


def share(text):
    return f'{float(text):.0%}' if text not in (None, '') else ''


def floors(kernels):
    rows = [(f"{r['kernel']} {r['shape']}", number(r['us']), number(r['GB/s']))
            for r in kernels if r['kernel'] in FLOORS]
    table('Floors', ('what', 'us', 'GB/s'), rows)


def all_kernels(kernels):
    rows = [(r['kernel'], r['shape'], r['tokens'], number(r['us']), number(r['GB/s'], 0), number(r['TFLOP/s'], 1),
             r['limit'], share(r['share'])) for r in kernels
            if r['kernel'] not in FLOORS + ('sparse',) and int(r['tokens']) in SHOWN]
    table('Kernels', ('kernel', 'shape', 'tokens', 'us', 'GB/s', 'TFLOP/s', 'limit', 'share'), rows)


def formats(kernels):
    """One matrix as bf16, fp8 and fp4: how often faster than bf16."""
    us = {}
    for r in kernels:
        name, _, form = r['shape'].partition('; ')
        if name == 'o_b' and r['kernel'].startswith('products') and form:
            us.setdefault(int(r['tokens']), {})[form.split()[0]] = float(r['us'])
    rows = [(n, *(f"{t[f]:.1f}" for f in ('bf16', 'fp8', 'fp4')), f"{t['bf16'] / t['fp8']:.2f}",
             f"{t['bf16'] / t['fp4']:.2f}")
            for n, t in sorted(us.items()) if {'bf16', 'fp8', 'fp4'} <= t.keys()]
    table('o_b in three formats', ('tokens', 'bf16, us', 'fp8, us', 'fp4, us', 'bf16 / fp8', 'bf16 / fp4'), rows)


def sparse(kernels):
    us = {}
    for r in kernels:
        if r['kernel'] == 'sparse':
            what, before = r['shape'].split(':')[0], int(r['shape'].split('; ')[-1].split()[0])
            us.setdefault((before + 1, int(r['tokens'])), {})[what] = float(r['us'])
    rows = [(c, n, f"{t['dense']:.1f}", f"{t['sparse']:.1f}", f"{t['dense'] / t['sparse']:.2f}")
            for (c, n), t in sorted(us.items()) if len(t) == 2]
    table('All compressed rows of a CSA layer, or those the indexer chooses (fp8 rows)',
          ('context', 'sequences', 'all, us', 'scores + choice + chosen, us', 'ratio'), rows)


def models(title, rows):
    table(title, ('identity', 'threads', 'experts', 'bench', 'context', 'sequences', 'ms', 'tokens/s', 'GB/s',
                  'of bandwidth'),
          [(r['identity'], r['threads'], share(r['experts on device']), r['bench'], r['context'], r['sessions'],
            number(float(r['seconds']) * 1e3, 2), number(r['tokens/s']) if r['bench'] != 'open' else '',
            number(r['GB/s'], 0) if float(r['bytes']) > 0 else '', share(r['of bandwidth'])) for r in rows])


def main(folder):
    kernels = read(folder, 'kernels.csv')
    floors(kernels)
    models('Whole models', read(folder, 'models.csv'))
    formats(kernels)
    sparse(kernels)
    models('Whole models on the CPU', read(folder, 'cpu_models.csv'))
    all_kernels(kernels)


if __name__ == '__main__':
    main(sys.argv[1])
