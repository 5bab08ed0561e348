"""Documents of a part (data/build.py) to batches of packed rows.

A part is `docs.bin`, uint16 little endian: a token id, and bit 15 where the token belongs to
an answer or to prose (weight 1).  What a generator drew at random nobody can predict; one in five of
those tokens counts, by a half, which teaches the language at a fifth of the price of the head.
`starts.npy` holds the first index of every document, and the end of the last.
Needs numpy only; tests/nano runs it.
"""
import os
from dataclasses import dataclass
from typing import Iterator

import numpy as np

ANSWER = 0x8000
STORY_WEIGHT, STORY_STRIDE = 0.5, 5
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

    def add(self, words: np.ndarray) -> None:
        """Places a document at `used`, which stays a multiple of four (see rows.py)."""
        a, n = self.used, len(words)
        self.ids[a:a + n] = words & (ANSWER - 1)
        chosen = (np.arange(n) + int(words.sum(dtype=np.int64))) % STORY_STRIDE == 0
        story = np.where(chosen, STORY_WEIGHT, 0.0)
        self.weight[a:a + n] = np.where(words & ANSWER, 1.0, story)
        self.weight[a] = 0
        self.doc[a:a + n] = self.docs
        self.pos[a:a + n] = np.arange(n)
        self.blocks += range(a, a + n - 127, 128)
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


def rows(part: Part, size: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Packed rows for ever: a new order of the documents in each epoch."""
    epoch, open_rows = 0, [Row(size) for _ in range(OPEN_ROWS)]
    while True:
        order = np.random.default_rng([seed, size, epoch]).permutation(len(part))
        for words in pieces(part, order, size):
            fitting = [r for r in open_rows if r.free() >= len(words)]
            if fitting:
                min(fitting, key=Row.free).add(words)
                continue
            fullest = min(open_rows, key=Row.free)
            yield fullest.fields()
            open_rows.remove(fullest)
            open_rows.append(Row(size))
            open_rows[-1].add(words)
        epoch += 1


def batches(part: Part, size: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Stacks of `count` rows: ids, doc, pos, weight [count, size], hca_start [count, size/128]."""
    source = rows(part, size, seed)
    while True:
        yield tuple(np.stack(field) for field in zip(*(next(source) for _ in range(count))))
