#!/usr/bin/env python3
"""Golden values of hash_test.cc: Engram's rows by numpy's generator and Python's integers.

    make_golden.py      prints, for the released and for a tiny config, SHA-256 of the rows (int32,
                        little-endian, layer after layer) of 100,000 windows, and of the
                        multipliers (uint64) of layers 0 to 299

Windows come from the 64-bit generator `splitmix`, seed 1: for each of the four entries one number;
dead (-1) when it is a multiple of 8, else the class (number >> 8) mod classes.
"""
import hashlib

import numpy as np

RELEASED = dict(layers=[1, 14], heads=8, bucket=16000000, classes=99092, pad=2)
TINY = dict(layers=[1, 4], heads=2, bucket=200, classes=333, pad=1)
NGRAM, WINDOWS = 4, 100000


def splitmix(state):
    while True:
        state = (state + 0x9e3779b97f4a7c15) % 2**64
        x = state
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 % 2**64
        x = (x ^ x >> 27) * 0x94d049bb133111eb % 2**64
        yield x ^ x >> 31


def multipliers(layer, classes):
    bound = max(1, np.iinfo(np.int64).max // classes // 2)
    draws = np.random.default_rng(10007 * layer).integers(0, bound, size=NGRAM, dtype=np.int64)
    return [2 * int(x) + 1 for x in draws]


def is_prime(n):
    return n > 1 and all(n % k for k in range(2, int(n ** 0.5) + 1))


def primes(c):
    used, out = set(), []
    for _ in c["layers"]:
        mine = []
        for _ in range(NGRAM - 1):
            n = c["bucket"] - 1
            for _ in range(c["heads"]):
                n += 1
                while n in used or not is_prime(n):
                    n += 1
                used.add(n)
                mine.append(n)
        out.append(mine)
    return out


def windows(c):
    numbers = splitmix(1)
    for _ in range(WINDOWS):
        n = [next(numbers) for _ in range(NGRAM)]
        yield [-1 if x % 8 == 0 else (x >> 8) % c["classes"] for x in n]


def rows(c, window, a, mine):
    out, x, dead, begin = [], 0, False, 0
    for n, t in enumerate(window):
        dead = dead or t == -1
        x ^= (c["pad"] if dead else t) * a[n]
        assert x < 2**63
        if n > 0:
            for p in mine[(n - 1) * c["heads"]:n * c["heads"]]:
                out.append(begin + x % p)
                begin += p
    return out


def main():
    for name, c in (("released", RELEASED), ("tiny", TINY)):
        mine = primes(c)
        a = [multipliers(layer, c["classes"]) for layer in c["layers"]]
        print(name, "sums", [sum(p) for p in mine])
        h = hashlib.sha256()
        all_windows = list(windows(c))
        for i in range(len(c["layers"])):
            for w in all_windows:
                h.update(np.array(rows(c, w, a[i], mine[i]), "<i4").tobytes())
        print(name, "rows", h.hexdigest())
        every = [m for layer in range(300) for m in multipliers(layer, c["classes"])]
        print(name, "multipliers", hashlib.sha256(np.array(every, "<u8").tobytes()).hexdigest())


main()
