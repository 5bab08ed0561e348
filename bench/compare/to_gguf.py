"""Writes a DeepSeek-V4 checkpoint as GGUF for llama.cpp and its relatives.

usage: to_gguf.py MODEL OUT.gguf [--head q8_0]      needs numpy and gguf (PyPI)

What the peer does itself when it converts (architecture `deepseek4`): fp4 experts become
MXFP4, which only moves bits; fp8 matrices become Q8_0, because GGUF has no fp8 (this is
their re-quantisation, not ours); bf16 and f32 stay.  No tokenizer: token ids are fed.
"""
import argparse
import json
import mmap
import os
import struct

import gguf
import numpy as np

F32, BF16, Q8_0, MXFP4 = (gguf.GGMLQuantizationType[n] for n in ('F32', 'BF16', 'Q8_0', 'MXFP4'))
LAYER = {  # name in the checkpoint -> name in the GGUF
    'hc_attn_fn': 'hc_attn_fn.weight', 'hc_attn_base': 'hc_attn_base.weight',
    'hc_attn_scale': 'hc_attn_scale.weight', 'hc_ffn_fn': 'hc_ffn_fn.weight',
    'hc_ffn_base': 'hc_ffn_base.weight', 'hc_ffn_scale': 'hc_ffn_scale.weight',
    'attn.attn_sink': 'attn_sinks.weight', 'attn.wq_a.weight': 'attn_q_a.weight',
    'attn.wq_b.weight': 'attn_q_b.weight', 'attn.q_norm.weight': 'attn_q_a_norm.weight',
    'attn.wkv.weight': 'attn_kv.weight', 'attn.kv_norm.weight': 'attn_kv_a_norm.weight',
    'attn.wo_a.weight': 'attn_output_a.weight', 'attn.wo_b.weight': 'attn_output_b.weight',
    'attn.compressor.ape': 'attn_compressor_ape.weight',
    'attn.compressor.wkv.weight': 'attn_compressor_kv.weight',
    'attn.compressor.wgate.weight': 'attn_compressor_gate.weight',
    'attn.compressor.norm.weight': 'attn_compressor_norm.weight',
    'attn.indexer.wq_b.weight': 'indexer.attn_q_b.weight',
    'attn.indexer.weights_proj.weight': 'indexer.proj.weight',
    'attn.indexer.compressor.ape': 'indexer_compressor_ape.weight',
    'attn.indexer.compressor.wkv.weight': 'indexer_compressor_kv.weight',
    'attn.indexer.compressor.wgate.weight': 'indexer_compressor_gate.weight',
    'attn.indexer.compressor.norm.weight': 'indexer_compressor_norm.weight',
    'attn_norm.weight': 'attn_norm.weight', 'ffn_norm.weight': 'ffn_norm.weight',
    'ffn.gate.weight': 'ffn_gate_inp.weight', 'ffn.gate.bias': 'exp_probs_b.bias',
    'ffn.gate.tid2eid': 'ffn_gate_tid2eid.weight',
    'ffn.shared_experts.w1.weight': 'ffn_gate_shexp.weight',
    'ffn.shared_experts.w2.weight': 'ffn_down_shexp.weight',
    'ffn.shared_experts.w3.weight': 'ffn_up_shexp.weight'}
ROOT = {'embed.weight': 'token_embd.weight', 'norm.weight': 'output_norm.weight',
        'head.weight': 'output.weight', 'hc_head_fn': 'output_hc_fn.weight',
        'hc_head_base': 'output_hc_base.weight', 'hc_head_scale': 'output_hc_scale.weight'}
EXPERTS = {'w1': 'ffn_gate_exps.weight', 'w2': 'ffn_down_exps.weight', 'w3': 'ffn_up_exps.weight'}
NUMPY = {'F32': '<f4', 'BF16': '<u2', 'I64': '<i8', 'I8': 'u1', 'F8_E4M3': 'u1', 'F8_E8M0': 'u1'}


class Checkpoint:
    """Tensors of a folder of safetensors, mapped: name -> (dtype, array)."""

    def __init__(self, folder):
        self.where, self.maps = {}, []
        for name in sorted(os.listdir(folder)):
            if name.endswith('.safetensors'):
                self.open(os.path.join(folder, name))

    def open(self, path):
        with open(path, 'rb') as f:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.maps.append(data)
        length, = struct.unpack_from('<Q', data)
        for name, t in json.loads(data[8:8 + length]).items():
            if name != '__metadata__':
                self.where[name] = (data, 8 + length + t['data_offsets'][0], t['dtype'], t['shape'])

    def __contains__(self, name):
        return name in self.where

    def read(self, name):
        data, at, dtype, shape = self.where[name]
        count = int(np.prod(shape))
        return dtype, np.frombuffer(data, NUMPY[dtype], count, at).reshape(shape)


def e4m3_table():
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0**(exponent - 7.0))
    return np.where(codes > 127, -value, value).astype(np.float32)


E4M3 = e4m3_table()


def fp8_to_q8(weight, scale, block=128):
    """fp8 with 128 x 128 scales -> Q8_0 bytes, a few rows at a time."""
    scales = np.exp2(scale.astype(np.float32) - 127)
    rows, cols = weight.shape
    out = np.empty((rows, cols // 32 * 34), np.uint8)
    for r in range(0, rows, block):
        wide = np.repeat(scales[r // block], block)[:cols]
        out[r:r + block] = gguf.quants.quantize(E4M3[weight[r:r + block]] * wide, Q8_0)
    return out


def fp4_to_mxfp4(weight, scale):
    """16 bytes a block: element j in the low nibble of byte j, j + 16 in the high one."""
    rows, half = weight.shape
    pairs = weight.reshape(rows, half // 16, 16)
    low, high = pairs & 15, pairs >> 4
    codes = np.stack((low, high), -1).reshape(rows, half // 16, 32)
    out = np.empty((rows, half // 16, 17), np.uint8)
    out[..., 0] = scale
    out[..., 1:] = codes[..., :16] | (codes[..., 16:] << 4)
    return out.reshape(rows, half // 16 * 17)


def add_numbers(w, c, arch):
    """The keys that the peer's loader asks for."""
    layers = c['num_hidden_layers']
    w.add_uint32(f'{arch}.vocab_size', c['vocab_size'])
    for key, value in (('context_length', c['max_position_embeddings']),
                       ('embedding_length', c['hidden_size']),
                       ('embedding_length_out', c['hidden_size'] * c['hc_mult']),
                       ('block_count', layers), ('feed_forward_length', c['moe_intermediate_size']),
                       ('attention.head_count', c['num_attention_heads']),
                       ('attention.head_count_kv', 1), ('attention.key_length', c['head_dim']),
                       ('attention.value_length', c['head_dim']),
                       ('attention.q_lora_rank', c['q_lora_rank']),
                       ('attention.sliding_window', c['sliding_window']),
                       ('attention.indexer.head_count', c['index_n_heads']),
                       ('attention.indexer.key_length', c['index_head_dim']),
                       ('attention.indexer.top_k', c['index_topk']),
                       ('attention.output_group_count', c['o_groups']),
                       ('attention.output_lora_rank', c['o_lora_rank']),
                       ('rope.dimension_count', c['qk_rope_head_dim']),
                       ('expert_count', c['n_routed_experts']),
                       ('expert_used_count', c['num_experts_per_tok']),
                       ('expert_shared_count', c['n_shared_experts']),
                       ('expert_feed_forward_length', c['moe_intermediate_size']),
                       ('expert_gating_func', 4), ('hash_layer_count', c['num_hash_layers']),
                       ('hyper_connection.count', c['hc_mult']),
                       ('hyper_connection.sinkhorn_iterations', c['hc_sinkhorn_iters']),
                       ('rope.scaling.original_context_length',
                        c['rope_scaling']['original_max_position_embeddings'])):
        w.add_uint32(f'{arch}.{key}', value)
    for key, value in (('attention.layer_norm_rms_epsilon', c['rms_norm_eps']),
                       ('attention.compress_rope_freq_base', c['compress_rope_theta']),
                       ('hyper_connection.epsilon', c['hc_eps']), ('rope.freq_base', c['rope_theta']),
                       ('rope.scaling.factor', c['rope_scaling']['factor']),
                       ('rope.scaling.yarn_beta_fast', c['rope_scaling']['beta_fast']),
                       ('rope.scaling.yarn_beta_slow', c['rope_scaling']['beta_slow']),
                       ('expert_weights_scale', c['routed_scaling_factor'])):
        w.add_float32(f'{arch}.{key}', float(value))
    w.add_bool(f'{arch}.expert_weights_norm', True)
    w.add_string(f'{arch}.rope.scaling.type', 'yarn')
    w.add_array(f'{arch}.attention.compress_ratios', c['compress_ratios'][:layers])
    w.add_array(f'{arch}.swiglu_clamp_exp', [float(c['swiglu_limit'])] * layers)
    w.add_string('tokenizer.ggml.model', 'none')


class Converter:
    def __init__(self, model, out, head):
        with open(os.path.join(model, 'config.json'), encoding='utf-8') as f:
            self.config = json.load(f)
        self.checkpoint = Checkpoint(model)
        self.head = head
        self.plan = []  # functions that make the bytes of each tensor, in order
        self.writer = gguf.GGUFWriter(out, 'deepseek4')
        add_numbers(self.writer, self.config, 'deepseek4')

    def add(self, name, shape, kind, make):
        """Announces a tensor; its bytes are made when its turn comes."""
        count = int(np.prod(shape))
        block, size = gguf.GGML_QUANT_SIZES[kind]
        self.writer.add_tensor_info(name, shape, np.dtype(np.float32), count // block * size, kind)
        self.plan.append(make)

    def add_plain(self, source, name):
        dtype, data = self.checkpoint.read(source)
        if dtype == 'F8_E4M3':
            scale = self.checkpoint.read(source.replace('.weight', '.scale'))[1]
            self.add(name, data.shape, Q8_0, lambda: fp8_to_q8(data, scale))
        elif dtype == 'I64':
            self.add(name, data.shape, gguf.GGMLQuantizationType.I32, lambda: data.astype(np.int32))
        elif dtype == 'BF16' and data.ndim >= 2:
            if name == 'output.weight' and self.head == 'q8_0':
                self.add(name, data.shape, Q8_0, lambda: gguf.quants.quantize(
                    (data.astype(np.uint32) << 16).view(np.float32), Q8_0))
            else:
                self.add(name, data.shape, BF16, lambda: data)
        else:
            self.add(name, data.shape, F32, lambda: data if dtype == 'F32' else
                     (data.astype(np.uint32) << 16).view(np.float32))

    def add_experts(self, layer, which):
        count = self.config['n_routed_experts']
        base = f'layers.{layer}.ffn.experts.'
        rows, half = self.checkpoint.read(f'{base}0.{which}.weight')[1].shape

        def make():
            out = np.empty((count, rows, half // 16 * 17), np.uint8)
            for e in range(count):
                out[e] = fp4_to_mxfp4(self.checkpoint.read(f'{base}{e}.{which}.weight')[1],
                                      self.checkpoint.read(f'{base}{e}.{which}.scale')[1])
            return out
        self.add(f'blk.{layer}.{EXPERTS[which]}', (count, rows, half * 2), MXFP4, make)

    def run(self):
        for source, name in ROOT.items():
            self.add_plain(source, name)
        for layer in range(self.config['num_hidden_layers']):
            for source, name in LAYER.items():
                full = f'layers.{layer}.{source}'
                if full in self.checkpoint:
                    self.add_plain(full, f'blk.{layer}.{name}')
            for which in EXPERTS:
                self.add_experts(layer, which)
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_ti_data_to_file()
        for make in self.plan:
            self.writer.write_tensor_data(make())
        self.writer.close()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('out')
    parser.add_argument('--head', choices=('bf16', 'q8_0'), default='bf16')
    a = parser.parse_args()
    Converter(a.model, a.out, a.head).run()
