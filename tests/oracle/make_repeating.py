#!/usr/bin/env python3
"""Makes a model whose next token is known from a tiny one with DSpark stages. usage: make_repeating.py DIR MODEL_DIR

The sublayers add next to nothing, and head.weight is the embedding in another order: behind token x comes next(x), which
walks through the vocabulary, with a probability near 1.  DSpark's Markov head says the same, but for every fifth token x,
so guesses are right up to one of those.  Tokens 0 and 1 (BOS, EOS) are hardly ever drawn.
"""
import glob, os, shutil, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_tiny_v41 import bf16_bits, save
from v4_oracle import read_st

out, source = sys.argv[1], sys.argv[2]
g = np.random.default_rng(7)


def value(tensors, name):
    return (tensors[name][1].astype(np.uint32) << 16).view(np.float32)


def shrink(tensors):
    """2^-12 of what attention, experts and n-gram tables add to the streams."""
    for name, (dtype, a) in tensors.items():
        if name.endswith(('.attn.wo_b.scale', '.w2.scale', '.engram.wkv.scale')):
            tensors[name] = (dtype, (a.astype(int) - 12).clip(0).astype(np.uint8))


def repeat(tensors):
    embed, head = value(tensors, 'embed.weight'), value(tensors, 'head.weight').copy()
    vocab = len(embed)
    following = np.concatenate([[2, 3], 2 + (np.arange(vocab - 2) + 37) % (vocab - 2)])
    head[following[2:]] = 0.05 * embed[2:]
    tensors['head.weight'] = ('BF16', bf16_bits(head))
    names = sorted(n for n in tensors if '.markov_head.' in n)                   # embed, head; markov_w1, markov_w2
    code = np.sign(g.standard_normal((vocab, tensors[names[0]][1].shape[1]))).astype(np.float32)
    said = following.copy()
    said[::5] = g.integers(2, vocab, len(said[::5]))
    tensors[names[0]] = ('BF16', bf16_bits(code[said]))
    tensors[names[1]] = ('BF16', bf16_bits(2 * code))
    confidence = next(n for n in tensors if '.confidence_head.' in n)
    tensors[confidence] = ('BF16', bf16_bits(0.1 * value(tensors, confidence)))


for path in sorted(glob.glob(os.path.join(source, 'model*.safetensors'))):
    tensors = read_st(path)
    shrink(tensors)
    if 'embed.weight' in tensors: repeat(tensors)
    save(os.path.join(out, os.path.basename(path)), tensors)
for path in glob.glob(os.path.join(source, '*.json')): shutil.copy(path, out)
