"""Turns a folder of results into tables of a page and plots.

usage: report.py RESULTS PAGE.md      (RESULTS is what bench/run.sh wrote)

In PAGE, what stands between <!-- NAME --> and <!-- end --> is replaced by table NAME;
the words around it are a person's.  Needs nothing but Python.
"""
import csv
import json
import os
import re
import sys

import plot

PARTS = ('head', 'attention', 'rows', 'compressor', 'indexer', 'shared_expert', 'routed_experts',
         'router', 'mhc', 'norms', 'embedding', 'other')


class Results:
    def __init__(self, folder):
        self.folder = folder

    def json(self, name):
        path = os.path.join(self.folder, name + '.json')
        if not os.path.exists(path):
            return None
        with open(path, encoding='utf-8') as f:
            return json.load(f)

    def csv(self, name):
        path = os.path.join(self.folder, name + '.csv')
        if not os.path.exists(path):
            return []
        with open(path, encoding='ascii', newline='') as f:
            return list(csv.DictReader(f))

    def sweep(self, name):
        """x -> part -> row, in the order of the file."""
        out = {}
        for row in self.csv(name):
            out.setdefault(int(row['x']), {})[row['part']] = row
        return out


def table(head, rows):
    lines = [head, ['---'] + ['---:'] * (len(head) - 1), *rows]
    return '\n'.join('| ' + ' | '.join(str(c) for c in line) + ' |' for line in lines)


def human(n):
    return f'{n // 1048576}M' if n >= 1048576 else f'{n // 1024}k' if n >= 1024 else str(n)


def summary(r):
    b, wide = r.json('bench'), r.json('avx2')
    if not b:
        return ''
    rows = [('decode, tokens/s', f"{b['decode_tokens_per_s']:.2f}",
             f"{b['decode_bandwidth_share']:.0%} of the read test ({b['weight_bytes_per_s'] / 1e9:.1f} of "
             f"{b['read_bandwidth_bytes_per_s'] / 1e9:.1f} GB/s)"),
            (f"prefill of {b['prefill_tokens']}, tokens/s", f"{b['prefill_tokens_per_s']:.1f}",
             f"{b['prefill_flops_share']:.0%} of {b['bf16_peak_flops'] / 1e9:.0f} GFLOP/s "
             f"({b['peak_flops_kind']})"),
            ('open, s', f"{b['open_seconds']:.3f}", ''),
            ('open to first token, 16-token prompt, s', f"{b['first_token_seconds']:.3f}",
             f"{1 / b['first_token_bound_share']:.2f} x the bytes bound"),
            ('memory beside the mapped file, MiB', f"{b['peak_anonymous_bytes'] / 2**20:.0f}", '')]
    if wide:
        rows.append(('decode with AVX2 forced, tokens/s', f"{wide['decode_tokens_per_s']:.2f}",
                     f"{wide['decode_bandwidth_share']:.0%} of the read test"))
    fast = r.json('fast')
    if fast:
        ratio = fast['prefill_flops_share'] / b['prefill_flops_share']
        rows.append((f"prefill of {fast['prefill_tokens']} in mode fast, tokens/s", f"{fast['prefill_tokens_per_s']:.1f}",
                     f"{ratio:.2f} x native, each by the peak of its own run"))
    context = r.json('context')
    if context:
        rows.append((f"memory at a context of {context['context_tokens']}, MiB",
                     f"{context['peak_anonymous_bytes'] / 2**20:.0f}", ''))
    return table(['measure', 'median', 'limit'], rows)


def layers(r):
    rows = r.csv('layers')
    if len(rows) != 3:
        return ''
    (two, s2, b2), _, (_, per, size) = [(c['layers'], float(c['seconds']), float(c['bytes'])) for c in rows]
    names = [f"{c['layers']} layers and head" for c in rows[:2]] + ['one layer (median of differences)']
    lines = [(n, float(c['seconds']), float(c['bytes'])) for n, c in zip(names, rows)]
    lines.append(('43 layers and head, computed', s2 + (43 - int(two)) * per, b2 + (43 - int(two)) * size))
    return table(['', 'ms per token', 'MB per token', 'GB/s'],
                 [(name, f'{1e3 * s:.2f}', f'{n / 1e6:.1f}', f'{n / s / 1e9:.1f}') for name, s, n in lines])


def sweep_table(rows, name, unit, peak):
    out = []
    for x, parts in rows.items():
        a = parts['all']
        out.append((human(x), f"{float(a['rate']):.2f}", f"{1e3 * float(a['seconds']):.2f}",
                    f"{float(a['bytes']) / 1e6:.0f}", f"{float(a['peak']) / 1e9:.1f}",
                    f"{float(a['share']):.0%}"))
    return table([name, 'tokens/s', f'ms per {unit}', f'MB per {unit}', peak, 'share'], out) if out else ''


def parts_table(rows, unit):
    """Part by part: ms and, in brackets, GB/s of what it reads."""
    if not rows:
        return ''
    lines = []
    for part in PARTS:
        cells = []
        for parts in rows.values():
            p = parts.get(part)
            s, size = (float(p['seconds']), float(p['bytes'])) if p else (0, 0)
            speed = f' ({size / s / 1e9:.0f})' if size > 1e5 and s > 1e-5 else ''
            cells.append(f'{1e3 * s:.2f}{speed}')
        lines.append((part, *cells))
    return table([f'ms per {unit} (GB/s)', *map(human, rows)], lines)


def profile_table(r):
    b = r.json('bench')
    if not b or 'profile' not in b:
        return ''
    d, p = b['profile']['decode'], b['profile']['prefill']
    rows = []
    for part in PARTS:
        x, y = d['parts'].get(part), p['parts'].get(part)
        if not x and not y:
            continue
        x, y = x or dict(ns=0, bytes=0), y or dict(ns=0, flops=0)
        rows.append((part, f"{x['bytes'] / d['tokens'] / 1e6:.2f}", f"{x['ns'] / d['tokens'] / 1e6:.3f}",
                     f"{x['bytes'] / max(x['ns'], 1):.1f}" if x['bytes'] > 1e6 else '',
                     f"{y['ns'] / p['tokens'] / 1e6:.3f}",
                     f"{y['flops'] / max(y['ns'], 1):.0f}" if y['flops'] > 1e9 else ''))
    return table(['part', 'decode: MB', 'ms', 'GB/s', 'prefill: ms', 'GFLOP/s'], rows)


def start_table(r):
    runs = {}
    for c in r.csv('start'):
        runs.setdefault(c['bench'], {})[c['part']] = c
    if 'first' not in runs or 'again' not in runs:
        return ''
    opened = float(runs['open']['all']['seconds'])
    ms = lambda run, part: f"{1e3 * float(runs[run][part]['seconds']):.1f}"
    lines = [('open', f'{1e3 * opened:.1f}', '', '')]
    for part in PARTS + ('all',):
        size = float(runs['first'][part]['bytes'])
        if part == 'all' or size > 1e5 or float(runs['first'][part]['seconds']) > 2e-4:
            lines.append((part, ms('first', part), ms('again', part), f'{size / 1e6:.0f}'))
    shares = [f"{1 / float(runs[run]['all']['share']):.2f}" for run in ('first', 'again')]
    lines.append(('x the bytes bound, with open', *shares, ''))
    return table(['part', 'first run, ms', 'again, ms', 'MB'], lines)


def compare_table(r):
    rows = [(c['engine'], c['measure'].replace('_tokens_per_s', ''), c['median'],
             f"{c['min']} to {c['max']}", c['ours_over_it']) for c in r.csv('compare')]
    return table(['engine', 'tokens/s of', 'median', 'range', 'ours / it'], rows) if rows else ''


def tables(r):
    decode, prefill, batch = (r.sweep(n) for n in ('decode', 'prefill', 'batch'))
    return {'summary': summary(r), 'layers': layers(r), 'profile': profile_table(r), 'start': start_table(r),
            'decode': sweep_table(decode, 'context', 'token', 'read test, GB/s'),
            'decode parts': parts_table(decode, 'token'),
            'prefill': sweep_table(prefill, 'prompt', 'token', 'peak, GFLOP/s'),
            'batch': sweep_table(batch, 'sessions', 'step', 'read test, GB/s'),
            'compare': compare_table(r)}


def main(folder, page):
    r = Results(folder)
    for name in 'decode', 'batch':
        rows = {human(x): {p: 1e3 * float(v['seconds']) for p, v in parts.items() if p != 'all'}
                for x, parts in r.sweep(name).items()}
        if rows:
            plot.write(os.path.join(folder, name + '.svg'), rows, PARTS,
                       'ms per token by context' if name == 'decode' else 'ms per step by sessions')
    with open(page, encoding='ascii') as f:
        text = f.read()
    for name, made in tables(r).items():
        if made:
            text = re.sub(rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m: m[1] + made + '\n' + m[2],
                          text, flags=re.S)
    with open(page, 'w', encoding='ascii') as f:
        f.write(text)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
