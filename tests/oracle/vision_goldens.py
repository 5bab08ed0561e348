#!/usr/bin/env python3
"""The image tower of a tiny V4.1 model by itself, and what the numpy oracle makes of images with it.

usage: vision_goldens.py SEED OUT_DIR

config.json          of the model
tower.safetensors    the tower's tensors
N.HxW.patches.f32    [H*W, 3*14*14] of image N, patches H high and W wide: two of the model's own, one of a single patch,
                     one with more than 512 patches and, for seed 0, one with more than 256 cells
N.exact.f32          [cells, D] its embeddings, float32
N.native.f32         the same, rounded to bf16 wherever a bf16 module rounds
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from make_tiny_v41 import save  # noqa: E402
from v4_oracle import bf16, read_st  # noqa: E402
from vision_oracle import Vision  # noqa: E402

GRIDS = ((1, 1), (26, 23))  # besides those of the model's case
MANY_CELLS = (49, 46)


def main():
    seed, out = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(dir=out) as model:
        subprocess.run([sys.executable, os.path.join(HERE, "make_tiny_v41.py"), model, "--seed", str(seed)], check=True,
                       stdout=subprocess.DEVNULL)
        tensors = read_st(os.path.join(model, "model-00001-of-00002.safetensors"))
        case = read_st(os.path.join(model, "images.safetensors"))
        grids = [(m["grid_h"], m["grid_w"]) for m in json.load(open(os.path.join(model, "case_image.json")))["images"]]
        text = open(os.path.join(model, "config.json")).read()
    with open(os.path.join(out, "config.json"), "w") as f: f.write(text)
    tower = {n: t for n, t in tensors.items() if n.startswith(("vision.", "aligner.", "image_"))}
    save(os.path.join(out, "tower.safetensors"), tower)

    g = np.random.default_rng([seed, 7])
    images = [(grid, (case[f"image.{i}.patches"][1].astype(np.uint32) << 16).view(np.float32)) for i, grid in enumerate(grids)]
    images += [(grid, bf16(g.uniform(-1, 1, (grid[0] * grid[1], 3, 14, 14)).astype(np.float32))) for grid in GRIDS + (MANY_CELLS,) * (seed == 0)]
    for act, name in (("f32", "exact"), ("bf16", "native")):
        vision = Vision(json.loads(text)["vision_config"], tower, act)
        for i, ((h, w), patches) in enumerate(images):
            patches.tofile(os.path.join(out, f"{i}.{h}x{w}.patches.f32"))
            np.ascontiguousarray(vision.encode(patches, h, w), np.float32).tofile(os.path.join(out, f"{i}.{name}.f32"))


if __name__ == "__main__":
    main()
