"""Packing of examples/nano/train: whole documents, aligned, none lost, weights where they belong."""
import os
import tempfile

import numpy as np

import nano
from train import packing, plan


def part(lengths, prose=()):
    """A part whose document i consists of its own token 10 + i; the last third is answer."""
    docs = []
    for i, n in enumerate(lengths):
        d = np.full(n, 10 + i, np.uint16)
        d[0 if i in prose else n - n // 3:] |= packing.ANSWER
        docs.append(d)
    return packing.Part(np.concatenate(docs), np.cumsum([0] + list(lengths)))


def first_rows(p, size, count):
    source = packing.rows(p, size, 7, jumps=False)
    return [next(source) for _ in range(count)]


def test_whole_documents():
    """every document is whole, starts at a multiple of four, and has its own number and positions"""
    p = part([37, 128, 500, 61, 4, 255, 130] * 30)
    whole = set()
    for ids, doc, pos, weight, _ in first_rows(p, 512, 40):
        assert np.all((doc >= 0) == (ids != 2))
        for d in range(doc.max() + 1):
            at = np.flatnonzero(doc == d)
            assert at[0] % 4 == 0 and np.array_equal(at, at[0] + np.arange(len(at)))
            assert np.array_equal(pos[at], np.arange(len(at))) and len(set(ids[at])) == 1
            token = int(ids[at[0]]) - 10
            assert len(at) == len(p.doc(token)) and weight[at[0]] == 0
            answer = np.flatnonzero(weight[at] == 1)
            assert len(answer) == len(at) // 3 and (len(answer) == 0 or answer[-1] == len(at) - 1)
            whole.add(token)
    assert len(whole) > 60, len(whole)


def test_blocks_of_128():
    """HCA blocks are the complete 128-token blocks of each document, counted from its start"""
    for ids, doc, pos, _, hca in first_rows(part([127, 128, 300, 511, 12] * 20), 1024, 8):
        for start in hca[hca >= 0]:
            assert pos[start] % 128 == 0 and doc[start] == doc[start + 127] >= 0
        wanted = sum(np.sum(doc == d) // 128 for d in range(doc.max() + 1))
        assert np.sum(hca >= 0) == wanted


def test_long_texts():
    """prose longer than a row is cut, other long documents wait for longer rows"""
    p = part([3000, 3000, 100], prose=(0,))
    seen = {int(t) for row in first_rows(p, 1024, 90) for t in row[0]}
    assert seen == {2, 10, 12}, seen
    assert 11 in {int(t) for row in first_rows(p, 4096, 24) for t in row[0]}


def test_jumps():
    """some short documents pretend to be long: positions rise once, by 128s, and no HCA block spans that"""
    p, jumped = part([61, 300, 129, 700] * 20), 0
    source = packing.rows(p, 1024, 7)
    for ids, doc, pos, _, hca in (next(source) for _ in range(30)):
        for d in range(doc.max() + 1):
            at = np.flatnonzero(doc == d)
            steps = np.diff(pos[at]) - 1
            high = np.flatnonzero(steps)
            assert pos[at[0]] == 0 and len(high) <= 1 and np.all(steps >= 0) and np.all(steps % 128 == 0)
            assert np.all((high + 1) % 4 == 0)
            jumped += len(high)
        for start in hca[hca >= 0]:
            assert pos[start + 127] == pos[start] + 127
    assert 20 < jumped < 80, jumped
    ids, _, pos, _, _ = next(packing.rows(part([3000] * 4), 4096, 7))
    assert pos.max() == 2999


def test_seeds():
    """the same seed packs the same rows; little is padding"""
    p = part(list(range(40, 700, 3)))
    a, b = (first_rows(p, 1024, 10) for _ in range(2))
    assert all(np.array_equal(x, y) for r, s in zip(a, b) for x, y in zip(r, s))
    assert np.mean([np.mean(r[1] < 0) for r in a]) < 0.08


def test_files():
    """a part is read back from its two files"""
    p = part([5, 9])
    with tempfile.TemporaryDirectory() as folder:
        p.words.tofile(os.path.join(folder, "docs.bin"))
        np.save(os.path.join(folder, "starts.npy"), p.starts)
        q = packing.load(folder)
        assert len(q) == 2 and np.array_equal(q.doc(1), p.doc(1))


def test_plan():
    """stages follow each other to the end of the budget, and the rate ends at zero"""
    for p in plan.PLANS.values():
        assert abs(sum(s.share for s in p.stages) - 1) < 1e-9 and p.stages[-1].mode == "native"
        stages = [plan.stage_at(p, x / 100)[0] for x in range(100)]
        assert list(dict.fromkeys(stages)) == list(p.stages)
        assert not plan.stage_at(p, 1)[1] and plan.learning_rate(p, 9999, 1) == 0
        assert all(s.size % 128 == 0 for s in p.stages)


nano.main(globals())
