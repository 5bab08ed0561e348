#!/usr/bin/env python3
"""What the numpy oracle makes of images with the tower of a tiny V4.1 model.

usage: vision_goldens.py MODEL_DIR OUT_DIR [--many]

N.HxW.patches.f32    [H*W, 3*14*14] of image N, patches H high and W wide: two of the model's own, one of a single patch,
                     one with more than 512 patches and, with --many, one with more than 256 cells
N.exact.f32          [cells, D] its embeddings, float32
N.native.f32         the same, rounded to bf16 wherever a bf16 module rounds
"""
import glob
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from v4_oracle import bf16, read_st  # noqa: E402
from vision_oracle import Vision  # noqa: E402

GRIDS = ((1, 1), (26, 23))  # besides those of the model's case
MANY_CELLS = (49, 46)


def main():
    model, out, tensors = sys.argv[1], sys.argv[2], {}
    for shard in sorted(glob.glob(os.path.join(model, "model*.safetensors"))): tensors.update(read_st(shard))
    case = read_st(os.path.join(model, "images.safetensors"))
    grids = [(m["grid_h"], m["grid_w"]) for m in json.load(open(os.path.join(model, "case_image.json")))["images"]]
    config = json.load(open(os.path.join(model, "config.json")))["vision_config"]

    g = np.random.default_rng(7)
    images = [(grid, (case[f"image.{i}.patches"][1].astype(np.uint32) << 16).view(np.float32)) for i, grid in enumerate(grids)]
    images += [(grid, bf16(g.uniform(-1, 1, (grid[0] * grid[1], 3, 14, 14)).astype(np.float32))) for grid in GRIDS + (MANY_CELLS,) * ("--many" in sys.argv)]
    for act, name in (("f32", "exact"), ("bf16", "native")):
        vision = Vision(config, tensors, act)
        for i, ((h, w), patches) in enumerate(images):
            patches.tofile(os.path.join(out, f"{i}.{h}x{w}.patches.f32"))
            np.ascontiguousarray(vision.encode(patches, h, w), np.float32).tofile(os.path.join(out, f"{i}.{name}.f32"))


if __name__ == "__main__":
    main()
