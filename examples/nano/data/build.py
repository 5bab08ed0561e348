"""Writes parts of training data: python3 -m data.build CORPUS TOKENIZER.json OUT PART [MTOKENS [MIX]]

PART is a number, and the seed: the same number and MIX give the same bytes.  A part of 15 million
tokens is 30 MB, so that two of them and the tree travel to another machine in 64 MiB.  The
format is that of train/packing.py.  Seeds of training begin with "train"; the scorer's with "score".
"""
import glob
import json
import os
import random
import sys
from typing import Callable

import numpy as np

from . import chat, lists, recall, render, tales, tools, worlds

ANSWER = 0x8000
# Share of tokens of each kind; prose gets the rest.  A story has many questions and a text many keys,
# because what is told costs as much time as what is answered and teaches less.
MIXES = {
    "easy": {"worlds_easy": 0.58, "recall_easy": 0.08, "pairs": 0.06, "lists": 0.10, "tools": 0.08, "chat": 0.03,
             "tales": 0.04},
    "short": {"worlds": 0.32, "worlds_hard": 0.17, "recall": 0.05, "pairs": 0.02, "lists": 0.09, "tools": 0.18,
              "chat": 0.05, "tales": 0.08},
    "long": {"worlds": 0.26, "worlds_hard": 0.10, "recall": 0.06, "recall_long": 0.26, "lists": 0.06, "tools": 0.16, "chat": 0.02,
             "tales": 0.04},
    "held": {**{f"ask_{q}": 0.07 for q in worlds.QUESTIONS}, "recall": 0.10, "recall_long": 0.12, "pairs": 0.03, "lists": 0.03,
             "tools": 0.08, "chat": 0.02, "tales": 0.04}}
LONG = (3000, 8000, 15000, 60000)  # characters of a long recall text: up to about 15k tokens
TASKS = ("worlds", "recall", "recall_long", "lists", "tools", "chat", "tales")


def tale(r: random.Random) -> render.Segments:
    """A tale, or what happens in a small world, as plain text."""
    return render.prose(tales.tale(r) if r.random() < 0.7 else " ".join(worlds.simulate(r, r.choice((2, 4, 8))).lines))


def recall_of(r: random.Random, sizes: tuple[int, ...], turns: tuple[int, int], limit: int = 1 << 30) -> dict:
    count = r.randint(*turns)
    size = min(limit, int(r.choice(sizes) * r.uniform(0.6, 1.0)))
    return recall.example(r, size, count + r.randint(0, 6), count)


def segments(r: random.Random, kind: str, long_limit: int = 1 << 30) -> render.Segments:
    """One document of a kind."""
    if kind.startswith("ask_"):
        return render.render(worlds.example(r, kind.removeprefix("ask_"), 2))
    makers: dict[str, Callable[[], dict]] = {
        "worlds": lambda: worlds.example(r),
        "worlds_hard": lambda: worlds.example(r, r.choice(worlds.HARD)),
        "worlds_easy": lambda: worlds.example(r, events=r.choice((0, 1, 2, 3, 4))),
        "recall": lambda: recall_of(r, (100, 400, 1200, 2400), (4, 8)),
        "recall_easy": lambda: recall_of(r, (0, 50, 100), (4, 8)),
        "pairs": lambda: recall.pairs(r),
        "recall_long": lambda: recall_of(r, LONG, (6, 12), long_limit),
        "lists": lambda: lists.example(r, r.randint(2, 6)),
        "tools": lambda: tools.example(r, turns=r.randint(2, 6)),
        "chat": lambda: chat.example(r)}
    return tale(r) if kind == "tales" else render.render(makers[kind]())


def encode(tok, parts: render.Segments) -> np.ndarray:
    """Token ids with the answer bit; segments meet at special tokens, so each is cut alone."""
    out = []
    for text, answer in parts:
        ids = tok.encode(text, add_special_tokens=False).ids
        out.append(np.array(ids, np.uint16) | (ANSWER if answer else 0))
    return np.concatenate(out).astype("<u2")


def pages(corpus: str, seed: str) -> list[str]:
    """Pages of prose in a seeded order."""
    out = []
    for path in sorted(glob.glob(os.path.join(corpus, "*.txt"))):
        with open(path, encoding="utf-8") as f:
            out += [p for p in f.read().split("\n\n") if p.strip()]
    random.Random(seed).shuffle(out)
    return out


def documents(tok, corpus: str, part: int, wanted: float, mix: str) -> tuple[list[np.ndarray], list[str]]:
    """The documents of a part and the kind of each."""
    docs, kinds = [], []
    for kind, share in MIXES[mix].items():
        r, have = random.Random(f"train {part} {kind}"), 0
        while have < share * wanted:
            docs.append(encode(tok, segments(r, kind)))
            kinds.append(kind)
            have += len(docs[-1])
    have, target = 0, (1 - sum(MIXES[mix].values())) * wanted
    for page in pages(corpus, f"train {part}"):
        if have >= target:
            break
        docs.append(encode(tok, render.prose(page)))
        kinds.append("prose")
        have += len(docs[-1])
    return docs, kinds


def main(corpus: str, tokenizer: str, out: str, part: int, mtokens: float, mix: str) -> None:
    from tokenizers import Tokenizer
    docs, kinds = documents(Tokenizer.from_file(tokenizer), corpus, part, mtokens * 1e6, mix)
    folder = os.path.join(out, f"{mix}-{part:03d}")
    os.makedirs(folder, exist_ok=True)
    np.concatenate(docs).tofile(os.path.join(folder, "docs.bin"))
    with open(os.path.join(folder, "kinds.json"), "w", encoding="ascii") as f:
        json.dump(kinds, f)
    np.save(os.path.join(folder, "starts.npy"), np.cumsum([0] + [len(d) for d in docs]))
    count = lambda k: sum(len(d) for d, kind in zip(docs, kinds) if kind == k)
    print(f"{folder}: {len(docs)} documents, {sum(map(len, docs))} tokens, "
          + ", ".join(f"{k} {count(k)}" for k in dict.fromkeys(kinds)))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]) if len(sys.argv) > 5 else 15,
         sys.argv[6] if len(sys.argv) > 6 else "short")
