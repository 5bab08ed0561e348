"""What tests/nano/model_test.py compares with: python3 -m train.golden STATE PART OUT.npz

The first 160 tokens of a held-out part and a sample of the logits of PyTorch in mode exact: every fifth
position, every 64th token.
"""
import sys

import numpy as np
import torch

from . import packing, state
from .config import CONFIGS
from .model import Model
from .numerics import Numerics
from .rows import single


def main(checkpoint: str, part: str, out: str) -> None:
    old = state.load(checkpoint)
    if old is None:
        sys.exit(f"{checkpoint}: no state")
    model = Model(CONFIGS[old["config"]])
    model.load_state_dict(old["model"])
    ids = (packing.load(part).words[:160] & (packing.ANSWER - 1)).astype(np.int64)
    with torch.no_grad():
        logits = model.logits(single(torch.from_numpy(ids)), Numerics("exact"))[0].numpy()
    positions, tokens = np.arange(0, len(ids), 5), np.arange(0, logits.shape[1], 64)
    np.savez_compressed(out, ids=ids.astype(np.int32), positions=positions, tokens=tokens,
                        logits=logits[np.ix_(positions, tokens)])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
