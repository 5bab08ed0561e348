"""v4infer eval against the oracle.  usage: eval_test.py V4INFER"""
import hashlib
import json
import os
import sys

import numpy as np

import cli

sys.path.insert(0, os.path.join(cli.SOURCE, 'tests/oracle'))
import v4_oracle  # noqa: E402

SEEDS = range(1, 6)


def oracle(folder, act='f32', quant=False):
    with open(os.path.join(folder, 'config.json')) as f:
        config = json.load(f)
    with open(os.path.join(folder, 'ids.json')) as f:
        ids = np.array(json.load(f))
    weights = v4_oracle.read_st(os.path.join(folder, 'model.safetensors'))
    return v4_oracle.Model(config, weights, act, quant).logits(ids).astype(np.float32)


def evaluate(command, folder, *args, mode='exact'):
    out = os.path.join(folder, 'logits.npy')
    command.run('eval', folder, '--ids', os.path.join(folder, 'ids.json'), '--mode', mode, '--out',
                out, *args)
    return out


def test_exact(folder, command):
    """exact mode equals the oracle within 1e-4 at 300 positions of 5 models, argmax equal"""
    for seed in SEEDS:
        path = cli.tiny_model(os.path.join(folder, str(seed)), seed)
        got = np.load(evaluate(command, path))
        want = oracle(path)
        assert got.dtype == np.float32 and got.shape == want.shape == (300, 512)
        worst = np.abs(got - want).max()
        print(f'        seed {seed}: largest difference {worst:.2e}')
        assert worst < 1e-4, (seed, worst)
        assert (got.argmax(-1) == want.argmax(-1)).all(), seed


def test_same_bytes(folder, command):
    """chunk 1, 3, 64, 300 and threads 1, 2: the same file, byte for byte, in both modes"""
    path = cli.tiny_model(folder, 1)
    for mode in 'exact', 'native':
        files = set()
        for args in (['--chunk', 1], ['--chunk', 3], ['--chunk', 64], ['--chunk', 300], [],
                     ['--threads', 1, '--chunk', 64], ['--threads', 2, '--chunk', 64]):
            with open(evaluate(command, path, *args, mode=mode), 'rb') as f:
                files.add(f.read())
        assert len(files) == 1, mode


def test_tiers(folder, command):
    """--sha256 is that of the .npy file's data; with --ram and --disk, twice, it is the same"""
    path = cli.tiny_model(folder, 1, 1000)
    ids = os.path.join(path, 'ids.json')
    base = ['eval', path, '--ids', ids, '--sha256']
    want = command.out(*base).strip()
    data = np.ascontiguousarray(np.load(evaluate(command, path, mode='native')))
    assert want == hashlib.sha256(data.tobytes()).hexdigest()
    disk = os.path.join(folder, 'disk')
    for args in ([], [], ['--chunk', 64], ['--ram', '40M']):
        assert command.out(*base, '--disk', disk, *args).strip() == want, args
    assert command.out(*base, '--disk', disk + '2:64K').strip() == want
    command.refused('budget', *base, '--disk', disk, '--ram', '20M')
    assert command.json(*base, '--disk', disk, '--json')['sha256'] == want
    command.refused('disk', *base, '--disk', ids)  # a file is no folder


def test_modes_differ(folder, command):
    """native rounds where exact does not, and stays near it"""
    path = cli.tiny_model(folder, 2, 40)
    exact = np.load(evaluate(command, path))
    native = np.load(evaluate(command, path, mode='native'))
    assert (exact != native).any()
    assert np.corrcoef(exact[0], native[0])[0, 1] > 0.9


def test_next(folder, command):
    """--next prints the oracle's greedy continuation"""
    path = cli.tiny_model(folder, 3, 60)
    ids = os.path.join(path, 'ids.json')
    got = command.json('eval', path, '--ids', ids, '--mode', 'exact', '--next', 6)
    for token in got:
        want = int(oracle(path)[-1].argmax())
        assert token == want, (got, want)
        with open(ids) as f:
            longer = json.load(f) + [token]
        with open(ids, 'w') as f:
            json.dump(longer, f)
    assert len(got) == 6


def test_refusals(folder, command):
    """ids that are not ids are refused with a sentence"""
    path = cli.tiny_model(folder, 1, 10)
    out = ['--out', os.path.join(folder, 'x.npy')]
    command.refused('no JSON array', 'eval', path, '--ids', '-', *out, stdin='{"a": 1}')
    command.refused('512', 'eval', path, '--ids', '-', *out, stdin='[1, 512]')
    command.refused('no token ids', 'eval', path, '--ids', '-', *out, stdin='[]')
    command.refused('cannot be read', 'eval', path, '--ids', '/no/such.json', *out)
    command.refused('cannot be written', 'eval', path, '--ids', '-', '--out', '/no/such/x.npy',
                    stdin='[1]')
    command.refused('--out, --sha256 or --next', 'eval', path, '--ids', '-', code=2)
    command.refused('--mode', 'eval', path, '--ids', '-', '--mode', 'wild', *out, code=2)


if __name__ == '__main__':
    cli.main(globals(), cli.Command(sys.argv[1]))
