#!/usr/bin/env python3
"""Writes a slice of DeepSeek-V4.1-Flash: a few layers at true width, random weights, without tables.

usage: make_slice.py DIR [--experts 64] [--tower 2]

Five layers: two with a window alone, an owner of ratio-2 rows and a layer that reuses them, and an owner of ratio-1 rows that
publishes candidates; n-gram tables before layers 1 and 3.  A token uses 6 experts as in the whole model; there are fewer to
choose from, so that the slice fits into 16 GB (64: 10 GB).  Then `make_table.py DIR --layers 1,3` writes the tables.
--tower: an image tower of so many blocks (the model's has 32); 0: none.
Needs numpy.
"""
import argparse
import json
import os
import struct

import numpy as np

D, VOCAB, WIDE, LAYERS = 5120, 129280, 2304, 5
OWNERS, TABLES = {2: 2, 4: 1}, (1, 3)
BLOCK = 1 << 22


class Random:
    """Pieces of one block of random codes each, turned differently: as fast as the disk takes them."""
    def __init__(self):
        self.g = np.random.default_rng(1)
        codes = self.g.integers(0, 256, BLOCK, dtype=np.uint8)
        codes[(codes & 0x7f) >= 0x60] &= 0x9f      # e4m3 up to 2
        self.fp8, self.fp4 = codes, self.g.integers(0, 256, BLOCK, dtype=np.uint8)
        self.normal = self.g.standard_normal(BLOCK).astype(np.float32)

    def turned(self, block, n):
        at, out = int(self.g.integers(len(block))), []
        while n > 0:
            piece = block[at:at + n]
            out.append(piece)
            n -= len(piece)
            at = 0
        return np.concatenate(out) if len(out) > 1 else out[0]


class Shard:
    def __init__(self, path, random):
        self.path, self.r, self.tensors = path, random, []

    def add(self, name, dtype, shape, make):
        self.tensors.append((name, dtype, shape, make))

    def bf16(self, name, *shape, std=None, mean=0.0):
        s = std or shape[-1] ** -0.5
        n = int(np.prod(shape))
        self.add(name, 'BF16', shape, lambda: ((self.r.turned(self.r.normal, n) * np.float32(s) + np.float32(mean))
                                               .view(np.uint32) >> 16).astype(np.uint16))

    def f32(self, name, *shape, std=1.0, mean=0.0):
        n = int(np.prod(shape))
        self.add(name, 'F32', shape, lambda: self.r.turned(self.r.normal, n) * np.float32(std) + np.float32(mean))

    def scaled(self, base, rows, cols, dtype, block, rms, scales):
        """Codes of that root mean square; the scale brings a product to about half of its input."""
        power = int(round(np.log2(0.5 / rms / cols ** 0.5))) + 127
        packed = 2 if dtype == 'I8' else 1
        self.add(base + '.weight', dtype, (rows, cols // packed), lambda: self.r.turned(block, rows * cols // packed))
        self.add(base + '.scale', 'F8_E8M0', scales, lambda: np.full(scales, power, np.uint8))

    def fp8(self, base, rows, cols):
        self.scaled(base, rows, cols, 'F8_E4M3', self.r.fp8, 0.7, (rows // 32, cols // 32))

    def fp4(self, base, rows, cols):
        self.scaled(base, rows, cols, 'I8', self.r.fp4, 2.7, (rows, cols // 32))

    def write(self):
        head, at = {}, 0
        for name, dtype, shape, _ in self.tensors:
            size = int(np.prod(shape)) * {'F32': 4, 'BF16': 2}.get(dtype, 1)
            head[name] = dict(dtype=dtype, shape=list(shape), data_offsets=[at, at + size])
            at += size
        h = json.dumps(head).encode()
        h += b' ' * (-len(h) % 8)
        with open(self.path, 'wb') as f:
            f.write(struct.pack('<Q', len(h)) + h)
            for _, _, _, make in self.tensors:
                f.write(memoryview(np.ascontiguousarray(make())).cast('B'))
        return at


def layer(w, l, experts):
    p, a = f'layers.{l}.', f'layers.{l}.attn.'
    w.f32(a + 'attn_sink', 64)
    w.bf16(a + 'q_norm.weight', 1280, std=0.1, mean=1.0)
    w.bf16(a + 'kv_norm.weight', 512, std=0.1, mean=1.0)
    for name, rows, cols in (('wq_a', 1280, D), ('wq_b', 32768, 1280), ('wkv', 512, D), ('wo_a', 8192, 4096), ('wo_b', D, 8192)):
        w.fp8(a + name, rows, cols)
    if l in OWNERS:
        w.bf16(a + 'compressor.wkv.weight', 512, D)
        if OWNERS[l] > 1: w.bf16(a + 'compressor.wgate.weight', 512, D)
        w.bf16(a + 'compressor.norm.weight', 512, std=0.1, mean=1.0)
        w.bf16(a + 'indexer.wk.weight', 128, 512)
        w.bf16(a + 'indexer.k_norm.weight', 128, std=0.1, mean=1.0)
        w.fp8(a + 'indexer.wq_b', 4096, 1280)
        w.bf16(a + 'indexer.weights_proj.weight', 32, D)
    for name in ('attn_norm', 'ffn_norm'): w.bf16(p + name + '.weight', D, std=0.1, mean=1.0)
    w.bf16(p + 'ffn.gate.weight', experts, D)
    for name in ('bias', 'bias_vl'): w.f32(p + 'ffn.gate.' + name, experts, std=0.1)
    for e in range(experts):
        for name, rows, cols in (('w1', WIDE, D), ('w2', D, WIDE), ('w3', WIDE, D)): w.fp4(f'{p}ffn.experts.{e}.{name}', rows, cols)
    for name, rows, cols in (('w1', WIDE, D), ('w2', D, WIDE), ('w3', WIDE, D)): w.fp8(f'{p}ffn.shared_experts.{name}', rows, cols)
    for site in ('attn', 'ffn'):
        w.f32(f'{p}hc_{site}_fn', 24, 4 * D, std=0.01)
        w.f32(f'{p}hc_{site}_base', 24, std=0.5)
        w.f32(f'{p}hc_{site}_scale', 3, std=0.1, mean=1.0)
    if l in TABLES:
        w.fp8(p + 'engram.wkv', 5 * D, 6144)
        for name in ('q_weight', 'k_weight'): w.bf16(p + 'engram.' + name, 4, D, std=0.1, mean=1.0)


def tower(w, blocks):
    def dense(base, rows, cols, bias=True):
        w.bf16(base + '.weight', rows, cols)
        if bias: w.bf16(base + '.bias', rows, std=0.1)
    dense('vision.patch_embed.proj', 1024, 588)
    for n in range(blocks):
        p = f'vision.blocks.{n}.'
        for name in ('norm1', 'norm2'): w.bf16(p + name + '.weight', 1024, std=0.1, mean=1.0)
        dense(p + 'attn.wqkv', 3072, 1024)
        dense(p + 'attn.wo', 1024, 1024)
        dense(p + 'mlp.w1', 5632, 1024, bias=False)
        dense(p + 'mlp.w2', 1024, 2816, bias=False)
    w.bf16('vision.norm.weight', 1024, std=0.1, mean=1.0)
    dense('aligner.w1', D, 9216)
    dense('aligner.w2', D, D)
    for n in ('start', 'end', 'newline'): w.bf16(f'image_{n}', D, std=1.0)


def tower_config(blocks):
    return dict(model_type='deepseek_v41_vision', num_hidden_layers=blocks, hidden_size=1024, num_attention_heads=16,
                intermediate_size=2816, patch_size=14, rope_theta=10000, downsample_ratio=3, max_image_tokens=1024,
                min_pixels=295936, max_wh_ratio=None)


def config(experts):
    text = dict(
        model_type='deepseek_v41_text', vocab_size=VOCAB, hidden_size=D, moe_intermediate_size=WIDE, num_hidden_layers=LAYERS,
        num_attention_heads=64, num_key_value_heads=1, head_dim=512, qk_rope_head_dim=64, q_lora_rank=1280, o_lora_rank=1024,
        o_groups=8, hidden_act='silu', swiglu_limit=10.0, rms_norm_eps=1e-20, attention_bias=False, tie_word_embeddings=False,
        max_position_embeddings=1048576, rope_theta=10000, compress_rope_theta=160000,
        rope_scaling=dict(rope_type='yarn', factor=16, beta_fast=32, beta_slow=1, original_max_position_embeddings=65536),
        n_routed_experts=experts, n_shared_experts=1, num_experts_per_tok=6, scoring_func='sqrtsoftplus', topk_method='noaux_tc',
        norm_topk_prob=True, routed_scaling_factor=1.5, sliding_window=128, compress_ratios=[0, 0, 2, 2, 1],
        kv_source_layer_ids=[2, 4], index_source_layer_ids=[2, 4], index_n_heads=32, index_head_dim=128, index_topk=512,
        candidate_source_layer_id=4, candidate_topk_blocks=2048, candidate_block_size=8, hc_mult=4, hc_sinkhorn_iters=20, hc_eps=1e-6)
    return dict(architectures=['DeepseekV41ForCausalLM'], model_type='deepseek_v41', dtype='bfloat16', bos_token_id=0, eos_token_id=1,
                pad_token_id=2, text_config=text, quantization_config=dict(
                    quant_method='fp8', activation_scheme='dynamic', weight_block_size=[32, 32], scale_fmt='ue8m0', expert_dtype='fp4'))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('dir')
    ap.add_argument('--experts', type=int, default=64)
    ap.add_argument('--tower', type=int, default=0)
    a = ap.parse_args()
    os.makedirs(a.dir, exist_ok=True)
    random, names, total = Random(), {}, 0
    for l in range(-1, LAYERS):
        file = f'model-{l + 1:05d}.safetensors'
        w = Shard(os.path.join(a.dir, file), random)
        if l < 0:
            w.bf16('embed.weight', VOCAB, D, std=1.0)
            w.bf16('head.weight', VOCAB, D)
            w.bf16('norm.weight', D, std=0.1, mean=1.0)
        else:
            layer(w, l, a.experts)
        total += w.write()
        names.update({t[0]: file for t in w.tensors})
    c = config(a.experts)
    if a.tower > 0:
        w = Shard(os.path.join(a.dir, 'model-tower.safetensors'), random)
        tower(w, a.tower)
        total += w.write()
        names.update({t[0]: 'model-tower.safetensors' for t in w.tensors})
        c.update(vision_config=tower_config(a.tower), image_token_id=129264)
    for name, value in (('config.json', c), ('model.safetensors.index.json', dict(weight_map=names))):
        with open(os.path.join(a.dir, name), 'w') as f: json.dump(value, f, indent=1)
    print(len(names), 'tensors,', total, 'bytes')


if __name__ == '__main__':
    main()
