#!/usr/bin/env python3
"""Writes Engram tables of the released width: a shard for each Engram layer, random but valid codes.

usage: make_table.py DIR [--gigabytes 10] [--layers 1,14] [--tokenizer tokenizer.json]

DIR gets model-engram-LAYER.safetensors and engram_token_map.json: the classes of the tokenizer, or
made-up ones of the same number without it.  The engram_* keys go into DIR/config.json (text_config
where there is one; a new file has nothing else), the tensors into DIR/model.safetensors.index.json if
there is one.  Needs numpy.
"""
import argparse
import json
import os
import struct
import sys
import time

import numpy as np

NGRAM, HEADS, HEAD_DIM, VOCAB, CLASSES, PAD = 4, 8, 256, 129280, 99092, 2
BLOCK = 16 << 20


def is_prime(n):
    return n > 1 and all(n % k for k in range(2, int(n ** 0.5) + 1))


def primes(layers, bucket):
    """The next primes from `bucket` on, a table's after the other's."""
    n, out = bucket - 1, []
    for _ in layers:
        mine = []
        while len(mine) < (NGRAM - 1) * HEADS:
            n += 1
            if is_prime(n):
                mine.append(n)
        out.append(mine)
    return out


def write_random(file, size, low, high, rng):
    """`size` bytes of [low, high) without e4m3's two NaN codes.  The block is turned differently each
    time, so that no two places of the file are alike and it is written as fast as the disk takes it."""
    block = rng.integers(low, high, BLOCK, dtype=np.uint8)
    block[(block & 0x7f) == 0x7f] ^= 1
    while size > 0:
        at = int(rng.integers(BLOCK))
        for part in (block[at:], block[:at]):
            part = part[:size]
            file.write(memoryview(part))
            size -= len(part)


def write_shard(path, layer, rows, rng):
    base = f"layers.{layer}.engram.embed."
    codes, scales = rows * HEAD_DIM, rows * HEAD_DIM // 32
    header = json.dumps({
        base + "weight": {"dtype": "F8_E4M3", "shape": [rows, HEAD_DIM], "data_offsets": [0, codes]},
        base + "scale": {"dtype": "F8_E8M0", "shape": [rows, HEAD_DIM // 32], "data_offsets": [codes, codes + scales]},
    }).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        write_random(f, codes, 0, 256, rng)
        write_random(f, scales, 112, 120, rng)
    return [base + "weight", base + "scale"]


def class_map(tokenizer):
    if tokenizer is None:
        return [i if i < CLASSES else i * 7919 % CLASSES for i in range(VOCAB)]
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/tokenizer"))
    import make_classes
    return make_classes.classes_of(make_classes.read(tokenizer))


def change_json(path, change):
    """Loads, changes and writes a JSON file; what change() gets is {} where there is none."""
    value = json.load(open(path)) if os.path.exists(path) else {}
    change(value)
    with open(path, "w") as f:
        json.dump(value, f, indent=1)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("--gigabytes", type=float, default=10)
    ap.add_argument("--layers", default="1,14")
    ap.add_argument("--tokenizer")
    a = ap.parse_args()
    os.makedirs(a.dir, exist_ok=True)
    layers = [int(x) for x in a.layers.split(",")]
    row_bytes = HEAD_DIM + HEAD_DIM // 32
    bucket = max(2, int(a.gigabytes * 1e9 / row_bytes / len(layers) / ((NGRAM - 1) * HEADS)))
    rows = [sum(p) for p in primes(layers, bucket)]
    classes = class_map(a.tokenizer)
    keys = dict(engram_layer_ids=layers, engram_num_embeddings=rows, engram_max_ngram_size=NGRAM,
                engram_vocab_size=bucket, engram_n_heads=HEADS, engram_head_dim=HEAD_DIM, engram_pad_token_id=PAD,
                engram_compressed_vocab_size=max(classes) + 1)
    rng, start, names = np.random.default_rng(1), time.time(), {}
    for layer, n in zip(layers, rows):
        file = f"model-engram-{layer}.safetensors"
        names.update({t: file for t in write_shard(os.path.join(a.dir, file), layer, n, rng)})
    change_json(os.path.join(a.dir, "config.json"), lambda c: c.get("text_config", c).update(keys))
    index = os.path.join(a.dir, "model.safetensors.index.json")
    if os.path.exists(index):
        change_json(index, lambda i: i["weight_map"].update(names))
    with open(os.path.join(a.dir, "engram_token_map.json"), "w") as f:
        json.dump(classes, f)
    print("%d rows of %d bytes, %.2f GB in %.1f s" % (sum(rows), row_bytes, sum(rows) * row_bytes / 1e9, time.time() - start))


if __name__ == "__main__":
    main()
