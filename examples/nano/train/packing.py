"""Documents of a part (data/build.py) to batches of packed rows.

A part is `docs.bin`, uint16 little endian: a token id, and bit 15 where the token belongs to
an answer or to prose.  Only those count: what a generator drew at random nobody can predict.

Positions may jump: inside a row of 1k tokens a document may pretend that some 10,000 tokens stood
between two of its sentences.  What is before the jump is out of the window's reach and can be seen
through compressed rows only, at distances that the row could never hold.
`starts.npy` holds the first index of every document, and the end of the last.
Needs numpy only; tests/nano runs it.
"""
import os
from dataclasses import dataclass
from typing import Iterator

import numpy as np

ANSWER = 0x8000
PROSE_WEIGHT = 0.1  # of an answer's token; there is more to guess than to know
JUMP_SHARE, JUMP_MOST, JUMP_ROWS = 0.4, 65536, 1024  # in rows of at most JUMP_ROWS tokens
OPEN_ROWS = 16  # rows that are filled at the same time
SMALLEST_PIECE = 64  # what is cut off a long text and is shorter is dropped


@dataclass
class Part:
    words: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def doc(self, i: int) -> np.ndarray:
        return self.words[self.starts[i]:self.starts[i + 1]]


def load(folder: str) -> Part:
    return Part(np.memmap(os.path.join(folder, "docs.bin"), dtype="<u2", mode="r"),
                np.load(os.path.join(folder, "starts.npy")))


class Row:
    """One row of `size` tokens being filled."""

    def __init__(self, size: int):
        self.size, self.used, self.docs = size, 0, 0
        self.ids = np.full(size, 2, np.int64)
        self.doc = np.full(size, -1, np.int64)
        self.pos = np.zeros(size, np.int64)
        self.weight = np.zeros(size, np.float32)
        self.blocks: list[int] = []

    def free(self) -> int:
        return self.size - self.used

    def add(self, words: np.ndarray, jump: tuple[int, int] = (0, 0)) -> None:
        """Places a document at `used`, which stays a multiple of four (see rows.py).

        jump: from which token on, and by how much, positions are higher; multiples of 4 and 128.
        """
        a, n = self.used, len(words)
        self.ids[a:a + n] = words & (ANSWER - 1)
        answer = (words & ANSWER) > 0
        self.weight[a:a + n] = np.where(answer, PROSE_WEIGHT if answer[1:].all() else 1.0, 0.0)
        self.weight[a] = 0
        self.doc[a:a + n] = self.docs
        self.pos[a:a + n] = np.arange(n)
        self.pos[a + jump[0]:a + n] += jump[1]
        self.blocks += [i for i in range(a, a + n - 127, 128) if self.pos[i + 127] == self.pos[i] + 127]
        self.docs += 1
        self.used = min(self.size, a + n + -n % 4)

    def fields(self) -> tuple[np.ndarray, ...]:
        hca = np.full(self.size // 128, -1, np.int64)
        hca[:len(self.blocks)] = self.blocks
        return self.ids, self.doc, self.pos, self.weight, hca


def pieces(part: Part, order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Documents in this order; prose longer than a row is cut, other long ones wait for longer rows."""
    for i in order:
        words = part.doc(i)
        if len(words) <= size:
            yield words
        elif words[-2] & ANSWER and np.all(words[1:] & ANSWER):  # prose
            for a in range(0, len(words) - SMALLEST_PIECE, size):
                yield words[a:a + size]


def jump(r: np.random.Generator, words: np.ndarray, size: int) -> tuple[int, int]:
    """Where a document's positions jump, if at all; distances are spread evenly over their logarithm."""
    if size > JUMP_ROWS or len(words) < 32 or r.random() > JUMP_SHARE:
        return 0, 0
    far = np.exp(r.uniform(np.log(128), np.log(JUMP_MOST)))
    return int(r.integers(4, len(words) - 8)) // 4 * 4, int(far) // 128 * 128


def rows(part: Part, size: int, seed: int, jumps: bool = True) -> Iterator[tuple[np.ndarray, ...]]:
    """Packed rows for ever: a new order of the documents in each epoch."""
    epoch, open_rows = 0, [Row(size) for _ in range(OPEN_ROWS)]
    while True:
        r = np.random.default_rng([seed, size, epoch])
        order = r.permutation(len(part))
        for words in pieces(part, order, size):
            far = jump(r, words, size) if jumps else (0, 0)
            fitting = [row for row in open_rows if row.free() >= len(words)]
            if fitting:
                min(fitting, key=Row.free).add(words, far)
                continue
            fullest = min(open_rows, key=Row.free)
            yield fullest.fields()
            open_rows.remove(fullest)
            open_rows.append(Row(size))
            open_rows[-1].add(words, far)
        epoch += 1


def batches(part: Part, size: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Stacks of `count` rows: ids, doc, pos, weight [count, size], hca_start [count, size/128]."""
    source = rows(part, size, seed)
    while True:
        yield tuple(np.stack(field) for field in zip(*(next(source) for _ in range(count))))
