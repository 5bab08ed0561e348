#!/usr/bin/env python3
"""What the numpy oracle computes for a tiny model, as raw float32 files.
usage: forward_goldens.py MODEL_DIR OUT_DIR [all|exact]     exact: nothing native

exact_logits   [T, V]           float32 activations, no quantisation
native_logits  [T, V]           bf16 activations, fp8/fp4 simulated
native_in_L    [F, n, D]        streams before layer L of the native run, first F = 160 tokens
native_out_L   [F, n, D]        ... and after it
mtp_hidden     [63, n, D]       exact streams after the last layer, positions 0..62
mtp_logits     [63, V]          exact MTP logits for them
"""
import json, os, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from v4_oracle import Model, read_st

model_dir, out = sys.argv[1], sys.argv[2]
os.makedirs(out, exist_ok=True)
config = json.load(open(f'{model_dir}/config.json'))
tensors = read_st(f'{model_dir}/model.safetensors')
ids = np.array(json.load(open(f'{model_dir}/ids.json')))
save = lambda name, a: np.ascontiguousarray(a, np.float32).tofile(f'{out}/{name}.f32')

exact = Model(config, tensors, 'f32', False)
save('exact_logits', exact.logits(ids))
if 'mtp.0.e_proj.weight' in tensors:
    hidden = exact.hidden(ids[:64])[:63]
    save('mtp_hidden', hidden)
    save('mtp_logits', exact.mtp_logits(hidden, ids[1:64]))

if sys.argv[3:] != ['exact']:
    native = Model(config, tensors, 'bf16', True)
    forced = ids[:160]
    streams = np.repeat(native.w.f('embed.weight')[forced][:, None], config['hc_mult'], 1).astype(np.float32)
    for layer in range(config['num_hidden_layers']):
        save(f'native_in_{layer}', streams)
        streams = native.block(streams, forced, f'layers.{layer}.', layer, layer < config['num_hash_layers'])
        save(f'native_out_{layer}', streams)
    save('native_logits', native.logits(ids))
open(f'{out}/done', 'w').write('ok')
