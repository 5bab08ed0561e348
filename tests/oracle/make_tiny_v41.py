#!/usr/bin/env python3
"""Writes a tiny random DeepSeek-V4.1 checkpoint in the ORIGINAL tensor layout. Needs v4_oracle.py on the path.

usage: make_tiny_v41.py DIR [--seed N] [--tokens T] [--no-engram]

DIR gets
  config.json                     nested as in the HF repository
  model-0000{1,2}-of-00002.safetensors + index (the Engram tables are alone in the second file)
  engram_token_map.json           class of every token id (stands in for the tokenizer)
  case_text.json                  {"ids"}
  case_image.json                 {"ids", "roles", "images": [{"start", "grid_h", "grid_w"}]}
  images.safetensors              image.N.patches [grid_h*grid_w, 3, 14, 14], bf16

Every role of the released model occurs: window-only, ratio-2 owner, ratio-2 reuse, second ratio-2 owner, ratio-1 owner
that also publishes candidates, reuse, reindex; Engram before a window layer and before a ratio-2 owner; 3 DSpark stages.
Weight scales jump by up to 16x between neighbouring blocks, so a wrong scale index cannot go unnoticed.
candidate_topk_blocks*candidate_block_size - (candidate_block_size-1) >= index_topk, as in the released model.
The SwiGLU clamp (2.0) and the YaRN ramp (original length 1024) are active at these sizes.
Sublayer outputs are small against the residual, so quantisation moves the logits by about 10 % instead of replacing them.
"""
import argparse, json, os, struct
import numpy as np
from v4_oracle import E2M1, POS8, f32, pow2_ceil, rne_grid

START, IMAGE, NEWLINE, END, TEXT = 0, 1, 2, 3, -1

TEXT_CONFIG = dict(
    model_type="deepseek_v41_text", vocab_size=512, hidden_size=256, moe_intermediate_size=96, num_hidden_layers=10,
    num_attention_heads=4, num_key_value_heads=1, head_dim=128, qk_rope_head_dim=64, q_lora_rank=128, o_lora_rank=64,
    o_groups=2, hidden_act="silu", swiglu_limit=2.0, rms_norm_eps=1e-20, attention_bias=False, attention_dropout=0.0,
    initializer_range=0.02, use_cache=True, tie_word_embeddings=False, max_position_embeddings=1048576,
    rope_theta=10000, compress_rope_theta=160000,
    rope_scaling=dict(rope_type="yarn", factor=16, beta_fast=32, beta_slow=1, original_max_position_embeddings=1024),
    n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2, scoring_func="sqrtsoftplus", topk_method="noaux_tc",
    norm_topk_prob=True, routed_scaling_factor=1.5, sliding_window=16,
    compress_ratios=[0, 0, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0], kv_source_layer_ids=[2, 4, 6],
    index_source_layer_ids=[2, 4, 6, 8], index_n_heads=8, index_head_dim=128, index_topk=16,
    candidate_source_layer_id=6, candidate_topk_blocks=3, candidate_block_size=8,
    hc_mult=4, hc_sinkhorn_iters=20, hc_eps=1e-6,
    engram_layer_ids=[1, 4], engram_num_embeddings=None, engram_max_ngram_size=4, engram_vocab_size=200,
    engram_n_heads=2, engram_head_dim=64, engram_pad_token_id=2, engram_compressed_vocab_size=None,
    num_nextn_predict_layers=3, dspark_block_size=5, dspark_noise_token_id=511, dspark_target_layer_ids=[7, 8, 9],
    dspark_markov_rank=32, dspark_n_routed_experts=6, dspark_num_experts_per_tok=3)
VISION_CONFIG = dict(
    model_type="deepseek_v41_vision", num_hidden_layers=2, hidden_size=64, num_attention_heads=2, intermediate_size=96,
    patch_size=14, rope_theta=10000, downsample_ratio=3, max_image_tokens=64, min_pixels=3136, max_wh_ratio=None)
IMAGE_TOKEN = 500


def bf16_bits(a):
    u = np.ascontiguousarray(a, f32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def codes(x, grid, sign_bit):
    """Nearest code of x on a sign+magnitude grid."""
    return (rne_grid(x, grid) | np.where(np.signbit(x), sign_bit, 0)).astype(np.uint8)


def scale_bytes(amax, top):
    """E8M0 byte and value of 2^ceil(log2(amax/top))."""
    v = pow2_ceil(np.maximum(amax, f32(1e-30)) / f32(top))
    return (np.log2(v).astype(int) + 127).astype(np.uint8), v


class Writer:
    def __init__(self, seed):
        self.g = np.random.default_rng(seed)
        self.t = {}

    def gauss(self, *shape, std=1.0, mean=0.0):
        return (mean + std * self.g.standard_normal(shape)).astype(f32)

    def bf16(self, name, *shape, std=None, mean=0.0):
        self.t[name] = ('BF16', bf16_bits(self.gauss(*shape, std=std or shape[-1] ** -0.5, mean=mean)))

    def f32(self, name, *shape, std=1.0, mean=0.0):
        self.t[name] = ('F32', self.gauss(*shape, std=std, mean=mean))

    def norm(self, name, n):
        self.bf16(name, n, std=0.1, mean=1.0)

    def jitter(self, *shape):
        return np.exp2(self.g.integers(-2, 3, shape)).astype(f32)

    def fp8(self, base, o, i, gain=0.5):
        """e4m3 weight with one E8M0 scale per 32x32 tile."""
        w = self.gauss(o // 32, 32, i // 32, 32, std=gain * i ** -0.5) * self.jitter(o // 32, 1, i // 32, 1)
        b, s = scale_bytes(np.abs(w).max((1, 3), keepdims=True), 448)
        self.t[base + '.weight'] = ('F8_E4M3', codes(w / s, POS8, 128).reshape(o, i))
        self.t[base + '.scale'] = ('F8_E8M0', b.reshape(o // 32, i // 32))

    def fp8_rows(self, base, rows, width):
        """e4m3 table with one E8M0 scale per 32 values of a row."""
        w = self.gauss(rows, width // 32, 32) * self.jitter(rows, width // 32, 1)
        b, s = scale_bytes(np.abs(w).max(-1, keepdims=True), 448)
        self.t[base + '.weight'] = ('F8_E4M3', codes(w / s, POS8, 128).reshape(rows, width))
        self.t[base + '.scale'] = ('F8_E8M0', b[..., 0])

    def fp4(self, base, o, i, gain=0.5):
        """e2m1 weight, two per byte (even column in the low nibble), one E8M0 scale per 32 columns."""
        w = self.gauss(o, i // 32, 32, std=gain * i ** -0.5) * self.jitter(o, i // 32, 1)
        b, s = scale_bytes(np.abs(w).max(-1, keepdims=True), 6)
        c = codes(w / s, E2M1[:8].astype(np.float64), 8).reshape(o, i)
        self.t[base + '.weight'] = ('I8', c[:, 0::2] | c[:, 1::2] << 4)
        self.t[base + '.scale'] = ('F8_E8M0', b[..., 0])


def save(path, tensors):
    head, off = {}, 0
    for n in sorted(tensors):
        dtype, a = tensors[n]
        head[n] = dict(dtype=dtype, shape=list(a.shape), data_offsets=[off, off + a.nbytes])
        off += a.nbytes
    h = json.dumps(head).encode()
    h += b' ' * (-len(h) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(h)) + h)
        for n in sorted(tensors): f.write(np.ascontiguousarray(tensors[n][1]).tobytes())
    return off


def block(w, c, p, layer):
    """One backbone layer, or a DSpark stage when layer is None."""
    D, H, hd, q, I = c['hidden_size'], c['num_attention_heads'], c['head_dim'], c['q_lora_rank'], c['moe_intermediate_size']
    G, R, hc = c['o_groups'], c['o_lora_rank'], c['hc_mult']
    a = p + 'attn.'
    w.f32(a + 'attn_sink', H)
    w.norm(a + 'q_norm.weight', q)
    w.norm(a + 'kv_norm.weight', hd)
    w.fp8(a + 'wq_a', q, D, gain=0.0005 if layer == 3 else 0.5)      # small before q_norm: a wrong eps shows
    w.fp8(a + 'wq_b', H * hd, q)
    w.fp8(a + 'wkv', hd, D)
    w.fp8(a + 'wo_a', G * R, H * hd // G)
    w.fp8(a + 'wo_b', D, G * R, gain=0.15)
    if layer in c['kv_source_layer_ids']:
        w.bf16(a + 'compressor.wkv.weight', hd, D)
        w.norm(a + 'compressor.norm.weight', hd)
        if c['compress_ratios'][layer] > 1: w.bf16(a + 'compressor.wgate.weight', hd, D, std=2 * D ** -0.5)
        w.bf16(a + 'indexer.wk.weight', c['index_head_dim'], hd)
        w.norm(a + 'indexer.k_norm.weight', c['index_head_dim'])
    if layer in c['index_source_layer_ids']:
        w.fp8(a + 'indexer.wq_b', c['index_n_heads'] * c['index_head_dim'], q)
        w.bf16(a + 'indexer.weights_proj.weight', c['index_n_heads'], D)
    w.norm(p + 'attn_norm.weight', D)
    w.norm(p + 'ffn_norm.weight', D)
    f = p + 'ffn.'
    E = c['dspark_n_routed_experts'] if layer is None else c['n_routed_experts']
    w.bf16(f + 'gate.weight', E, D, std=2 * D ** -0.5)
    w.f32(f + 'gate.bias', E, std=0.3)
    w.f32(f + 'gate.bias_vl', E, std=0.3)
    for e in range(E):
        w.fp4(f'{f}experts.{e}.w1', I, D)
        w.fp4(f'{f}experts.{e}.w2', D, I, gain=0.15)
        w.fp4(f'{f}experts.{e}.w3', I, D)
    w.fp8(f + 'shared_experts.w1', I, D)
    w.fp8(f + 'shared_experts.w2', D, I, gain=0.15)
    w.fp8(f + 'shared_experts.w3', I, D)
    for t in ('attn', 'ffn'):
        w.f32(f'{p}hc_{t}_fn', (2 + hc) * hc, hc * D, std=0.03)
        w.f32(f'{p}hc_{t}_base', (2 + hc) * hc, std=0.5)
        w.f32(f'{p}hc_{t}_scale', 3, std=0.2, mean=1.0)
    if layer is not None and layer in c['engram_layer_ids']:
        e = p + 'engram.'
        cols = (c['engram_max_ngram_size'] - 1) * c['engram_n_heads']
        w.fp8_rows(e + 'embed', c['engram_num_embeddings'][c['engram_layer_ids'].index(layer)], c['engram_head_dim'])
        w.fp8(e + 'wkv', (hc + 1) * D, cols * c['engram_head_dim'], gain=0.3)
        w.bf16(e + 'q_weight', hc, D, std=0.3, mean=1.0)
        w.bf16(e + 'k_weight', hc, D, std=0.3, mean=1.0)


def vision(w, v, D):
    d, cell = v['hidden_size'], v['downsample_ratio'] ** 2
    def dense(name, o, i, bias=True):
        w.bf16(name + '.weight', o, i)
        if bias: w.bf16(name + '.bias', o, std=0.1)
    dense('vision.patch_embed.proj', d, 3 * v['patch_size'] ** 2)
    for n in range(v['num_hidden_layers']):
        p = f'vision.blocks.{n}.'
        w.norm(p + 'norm1.weight', d)
        w.norm(p + 'norm2.weight', d)
        dense(p + 'attn.wqkv', 3 * d, d)
        dense(p + 'attn.wo', d, d)
        dense(p + 'mlp.w1', 2 * v['intermediate_size'], d, bias=False)
        dense(p + 'mlp.w2', d, v['intermediate_size'], bias=False)
    w.norm('vision.norm.weight', d)
    dense('aligner.w1', D, d * cell)
    dense('aligner.w2', D, D)
    for n in ('start', 'end', 'newline'): w.bf16(f'image_{n}', D, std=1.0)


def engram_table_rows(c):
    """Rows per Engram layer = sum of its primes; each (layer, order) restarts the search, no prime is used twice."""
    used, rows = set(), []
    for _ in c['engram_layer_ids']:
        total = 0
        for _ in range(c['engram_max_ngram_size'] - 1):
            n = c['engram_vocab_size'] - 1
            for _ in range(c['engram_n_heads']):
                n += 1
                while n in used or any(n % k == 0 for k in range(2, int(n ** 0.5) + 1)): n += 1
                used.add(n)
                total += n
        rows.append(total)
    return rows


def class_map(g, n):
    """Random many-to-one map, classes numbered by first appearance; ids 0 and 1 share a class, so pad id 2 -> class 1."""
    key = g.integers(0, n, n)
    key[:3] = [n, n, n + 1]
    seen = {}
    return [seen.setdefault(int(k), len(seen)) for k in key]


def image_case(g, c, T):
    """Text with two image spans, neither patch grid divisible by 3; the second span crosses a window boundary."""
    ids, roles, images = [0], [TEXT], []
    def text(n):
        ids.extend(int(x) for x in g.integers(3, 490, n))
        roles.extend([TEXT] * n)
    for before, gh, gw in ((6, 4, 5), (3, 7, 4)):
        text(before)
        nh, nw = -(-gh // 3), -(-gw // 3)
        span = [START] + ([IMAGE] * nw + [NEWLINE]) * nh + [END]
        images.append(dict(start=len(ids), grid_h=gh, grid_w=gw))
        ids.extend([IMAGE_TOKEN] * len(span))
        roles.extend(span)
    text(T - len(ids))
    return dict(ids=ids, roles=roles, images=images)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('dir')
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--tokens', type=int, default=96)
    ap.add_argument('--no-engram', action='store_true', help='a model without n-gram tables')
    a = ap.parse_args()
    os.makedirs(a.dir, exist_ok=True)
    c, v = dict(TEXT_CONFIG), VISION_CONFIG
    if a.no_engram: c['engram_layer_ids'] = []
    g = np.random.default_rng([a.seed, 1])                      # token data, independent of the weights
    cmap = class_map(g, c['vocab_size'])
    c['engram_compressed_vocab_size'] = max(cmap) + 1
    c['engram_num_embeddings'] = engram_table_rows(c)

    w = Writer(a.seed)
    D, V, r, last = c['hidden_size'], c['vocab_size'], c['dspark_markov_rank'], c['num_nextn_predict_layers'] - 1
    w.bf16('embed.weight', V, D, std=1.0)
    w.bf16('head.weight', V, D, std=2 * D ** -0.5)
    w.norm('norm.weight', D)
    for l in range(c['num_hidden_layers']): block(w, c, f'layers.{l}.', l)
    for s in range(c['num_nextn_predict_layers']): block(w, c, f'mtp.{s}.', None)
    w.fp8('mtp.0.main_proj', D, D * len(c['dspark_target_layer_ids']))
    w.norm('mtp.0.main_norm.weight', D)
    w.norm(f'mtp.{last}.norm.weight', D)
    w.bf16(f'mtp.{last}.markov_head.embed.weight', V, r, std=0.3)
    w.bf16(f'mtp.{last}.markov_head.head.weight', V, r, std=0.5)
    w.bf16(f'mtp.{last}.confidence_head.proj.weight', 1, D + r)
    vision(w, v, D)

    tables = {n: t for n, t in w.t.items() if '.engram.embed.' in n}
    rest = {n: t for n, t in w.t.items() if n not in tables}
    files = {'model-00001-of-00002.safetensors': rest, 'model-00002-of-00002.safetensors': tables}
    if not tables: del files['model-00002-of-00002.safetensors']
    total = sum(save(os.path.join(a.dir, f), t) for f, t in files.items())
    index = dict(metadata=dict(total_size=total), weight_map={n: f for f, t in files.items() for n in sorted(t)})
    config = dict(architectures=["DeepseekV41ForCausalLM"], model_type="deepseek_v41", dtype="bfloat16", bos_token_id=0,
                  eos_token_id=1, pad_token_id=2, image_token_id=IMAGE_TOKEN, text_config=c, vision_config=v,
                  quantization_config=dict(quant_method="fp8", activation_scheme="dynamic", weight_block_size=[32, 32],
                                           scale_fmt="ue8m0", expert_dtype="fp4"))
    text = dict(ids=[0] + [int(x) for x in g.integers(3, 490, a.tokens - 1)])
    image = image_case(g, c, a.tokens)
    patches = {f'image.{i}.patches': ('BF16', bf16_bits(g.uniform(-1, 1, (m['grid_h'] * m['grid_w'], 3, 14, 14))))
               for i, m in enumerate(image['images'])}
    save(os.path.join(a.dir, 'images.safetensors'), patches)
    for name, obj in (('config.json', config), ('model.safetensors.index.json', index), ('engram_token_map.json', cmap),
                      ('case_text.json', text), ('case_image.json', image)):
        with open(os.path.join(a.dir, name), 'w') as f: json.dump(obj, f, indent=1 if name.startswith(('config', 'model')) else None)
    print(len(w.t), 'tensors,', total, 'bytes,', c['engram_compressed_vocab_size'], 'classes, tables', c['engram_num_embeddings'])


if __name__ == '__main__':
    main()
