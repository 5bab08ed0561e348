"""Trains tokenizer.json: byte-level BPE with the pre-tokenizer and special tokens of V4 (spec 5.5).

    python3 -m data.tokenizer CORPUS OUT.json [SIZE]

CORPUS is the folder that gather.py filled; half of the text comes from the generators.  Needs
`pip install tokenizers` (0.23 was used); nothing else in this project does.
"""
import glob
import json
import os
import random
import sys

from . import build
from .render import ASSISTANT, BAR, BOS, DSML, EOS, LOW, USER

SPLITS = [  # a, b, c of spec 5.5
    "\\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
FIRST = [BOS, EOS, f"<{BAR}{LOW}pad{LOW}{BAR}>"]
LAST = [USER, ASSISTANT] + [f"<{BAR}{w}{BAR}>" for w in
                            ("latest_reminder", "action", "query", "authority", "domain", "title", "read_url")]
PLAIN = ["<think>", "</think>", DSML]
SIZE = 8192


def texts(corpus: str) -> list[str]:
    """Prose, and as many characters from the generators."""
    out = []
    for path in sorted(glob.glob(os.path.join(corpus, "*.txt"))):
        with open(path, encoding="utf-8") as f:
            out.append(f.read(8 << 20))
    wanted, made, r = min(12 << 20, sum(map(len, out))), 0, random.Random("tokenizer")
    while made < wanted:
        kind = r.choice(sorted(build.TASKS))
        text = "".join(t for t, _ in build.segments(r, kind, 2000))
        for mark in FIRST + LAST + PLAIN:
            text = text.replace(mark, "\n")
        out.append(text)
        made += len(text)
    return out


def main(corpus: str, out: str, size: int = SIZE) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(s), "isolated") for s in SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size - len(LAST) - len(PLAIN), special_tokens=FIRST, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(texts(corpus), trainer)
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in LAST])
    tok.add_tokens([AddedToken(t, normalized=t == DSML, special=False) for t in PLAIN])
    if tok.get_vocab_size() != size:
        sys.exit(f"{tok.get_vocab_size()} tokens, expected {size}: the corpus is too small")
    with open(out, "w", encoding="utf-8") as f:
        json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
    print(f"{out}: {os.path.getsize(out)} bytes, {size} tokens")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
