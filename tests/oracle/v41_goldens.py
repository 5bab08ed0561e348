#!/usr/bin/env python3
"""What the numpy oracle computes for a tiny V4.1 model, as raw float32 files.
usage: v41_goldens.py MODEL_DIR OUT_DIR

text_logits    [T, V]       case_text.json: float32 activations, no quantisation
image_logits   [T, V]       case_image.json, the same
image_rows     [T, D]       embeddings of its image spans; zeros elsewhere
native_in_L    [F, n, D]    streams before layer L of the native run, first F = 160 tokens of the text
native_pre_L   [F, n]       the coefficients that collapse them
native_out_L   [F, n, D]    streams after it
"""
import os, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from v41_oracle import TEXT, Case, Model, State, read_checkpoint

model_dir, out = sys.argv[1], sys.argv[2]
os.makedirs(out, exist_ok=True)
tensors, config, vision, classes = read_checkpoint(model_dir)
save = lambda name, a: np.ascontiguousarray(a, np.float32).tofile(f'{out}/{name}.f32')

exact = Model(config, tensors, classes)
for name in ('text', 'image'):
    case = Case(model_dir, f'case_{name}.json', config, vision, tensors, 'f32')
    save(name + '_logits', exact.forward(State(), *case.part(0, len(case.ids))))
rows = exact.embed(case.ids, case.roles, case.soft)
rows[case.roles == TEXT] = 0
save('image_rows', rows)

native = Model(config, tensors, classes, 'bf16', True)
case = Case(model_dir, 'case_text.json', config, vision, tensors, 'bf16')
st = State()
pos, dead, rows, (X, pre) = native.begin(st, *case.part(0, 160))
st.taps.append([])
for l in range(config['num_hidden_layers']):
    save(f'native_in_{l}', X)
    save(f'native_pre_{l}', pre)
    X, pre = native.layers(st, X, pre, pos, l, l + 1, rows, dead)
    save(f'native_out_{l}', X)
open(f'{out}/done', 'w').write('ok')
