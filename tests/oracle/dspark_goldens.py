#!/usr/bin/env python3
"""What DSpark guesses in a tiny model of V4 or V4.1, as raw float32 files. usage: dspark_goldens.py MODEL_DIR OUT_DIR

Behind the first N = 9 tokens (less than a window) and N = 45, B guesses:
exact_N_ids [1 + B]   exact_N_logits [B, V]   exact_N_confidence [B]      float32, no quantisation; first the model's token
native_N_...          the same with bf16 activations, fp8/fp4 simulated
native_N_taps [N, taps * D]   what the native draft has seen
"""
import json, os, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import v4_oracle, v41_oracle

model_dir, out = sys.argv[1], sys.argv[2]
os.makedirs(out, exist_ok=True)
save = lambda name, a: np.ascontiguousarray(a, np.float32).tofile(f'{out}/{name}.f32')


def v4(act, quant, ids):
    config = json.load(open(f'{model_dir}/config.json'))
    m = v4_oracle.Model(config, v4_oracle.read_st(f'{model_dir}/model.safetensors'), act, quant)
    streams, taps = m.hidden(ids, tuple(config['dspark_target_layer_ids']))
    token = int((m.norm(m.hc_head(streams[-1:]), 'norm.weight') @ m.w.f('head.weight').T)[0].argmax())
    return taps, m.dspark(taps, token, config['dspark_block_size'], config['dspark_noise_token_id'])


def v41(act, quant, ids):
    tensors, config, _, classes = v41_oracle.read_checkpoint(model_dir)
    m, state = v41_oracle.Model(config, tensors, classes, act, quant), v41_oracle.State()
    logits = m.forward(state, ids)
    return np.concatenate([np.concatenate(t, -1) for t in state.taps]), m.draft(state, int(logits[-1].argmax()))


is_v41 = os.path.exists(f'{model_dir}/case_text.json')
ids = json.load(open(f'{model_dir}/case_text.json'))['ids'] if is_v41 else json.load(open(f'{model_dir}/ids.json'))
for n in (9, 45):
    for name, act, quant in (('exact', 'f32', False), ('native', 'bf16', True)):
        taps, found = (v41 if is_v41 else v4)(act, quant, np.array(ids[:n]))
        if quant: save(f'{name}_{n}_taps', taps)
        for part, a in zip(('ids', 'logits', 'confidence'), found): save(f'{name}_{n}_{part}', a)
open(f'{out}/done', 'w').write('ok')
