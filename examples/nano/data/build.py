"""Writes parts of training data: python3 -m data.build CORPUS TOKENIZER.json OUT PART [MTOKENS]

PART is a number, and the seed: the same number gives the same bytes.  A part of 15 million tokens is 30
MB, so that two of them and the tree travel to another machine in 64 MiB.  The format is that of
train/packing.py.  Seeds of training begin with "train"; the scorer's begin with "score".
"""
import glob
import os
import random
import sys

import numpy as np

from . import chat, lists, recall, render, tools, worlds

ANSWER = 0x8000
# share of tokens of each kind; prose gets the rest
SHARES = {"worlds": 0.34, "recall": 0.14, "recall_long": 0.10, "lists": 0.08, "tools": 0.09, "chat": 0.03}
LONG = (4000, 10000, 24000, 60000)  # characters of a long recall text: up to about 15k tokens
TASKS = tuple(SHARES)


def segments(r: random.Random, kind: str, long_limit: int = 1 << 30) -> render.Segments:
    """One document of a kind."""
    if kind == "worlds":
        return render.render(worlds.example(r))
    if kind == "recall":
        return render.render(recall.example(r, r.choice((100, 400, 1200, 2800))))
    if kind == "recall_long":
        return render.render(recall.example(r, min(long_limit, int(r.choice(LONG) * r.uniform(0.6, 1.0)))))
    if kind == "lists":
        return render.render(lists.example(r))
    if kind == "tools":
        return render.render(tools.example(r))
    return render.render(chat.example(r))


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


def main(corpus: str, tokenizer: str, out: str, part: int, mtokens: float) -> None:
    from tokenizers import Tokenizer
    tok, wanted = Tokenizer.from_file(tokenizer), mtokens * 1e6
    counts, docs = {}, []
    for kind, share in SHARES.items():
        r, have = random.Random(f"train {part} {kind}"), 0
        while have < share * wanted:
            docs.append(encode(tok, segments(r, kind)))
            have += len(docs[-1])
        counts[kind] = have
    have, target = 0, (1 - sum(SHARES.values())) * wanted
    for page in pages(corpus, f"train {part}"):
        if have >= target:
            break
        docs.append(encode(tok, render.prose(page)))
        have += len(docs[-1])
    counts["prose"] = have
    folder = os.path.join(out, f"part-{part:03d}")
    os.makedirs(folder, exist_ok=True)
    np.concatenate(docs).tofile(os.path.join(folder, "docs.bin"))
    np.save(os.path.join(folder, "starts.npy"), np.cumsum([0] + [len(d) for d in docs]))
    print(f"{folder}: {len(docs)} documents, {sum(counts.values())} tokens, "
          + ", ".join(f"{k} {v}" for k, v in counts.items()))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]) if len(sys.argv) > 5 else 15)
