"""What only PyTorch can see of a trained model: MTP acceptance and the experts' load.

    python3 -m train.measure CHECKPOINT_FOLDER PART OUT.json [ROWS]

PART is a part with a number that was not trained on (data/build.py).  Acceptance: the share of
answer and prose positions at which the MTP block's best token is the main model's, greedy, in
mode exact, the text being given.  Load: for each layer, the busiest and the idlest expert over the
mean, and how many experts were never used.
"""
import json
import sys

import torch

from . import packing, state
from .config import CONFIGS
from .model import Model
from .numerics import Numerics
from .rows import Batch


@torch.no_grad()
def measure(model: Model, part: packing.Part, rows: int) -> dict:
    num, hits, asked, loads = Numerics("exact"), 0, 0, None
    source = packing.batches(part, 1024, 4, 1)
    for _ in range(max(1, rows // 4)):
        b = Batch(*map(torch.from_numpy, next(source)))
        h, _, now = model.streams(b, num, True)
        main = model.head(model.norm(model.hc_head(h, num), num), num).argmax(-1)
        x, load = model.draft(h, b, num)
        draft = model.head(x, num).argmax(-1)
        asked_here = (b.weight[:, 2:] == 1) & (b.doc[:, 2:] == b.doc[:, :-2])
        hits += ((draft[:, :-2] == main[:, 1:-1]) & asked_here).sum().item()
        asked += asked_here.sum().item()
        now = [*now, load]
        loads = now if loads is None else [a + b for a, b in zip(loads, now)]
    layers = [{"busiest": (x.max() / x.float().mean()).item(), "idlest": (x.min() / x.float().mean()).item(),
               "unused": int((x == 0).sum())} for x in loads]
    return {"mtp_acceptance": hits / max(asked, 1), "mtp_positions": asked, "experts": layers}


def main(checkpoint: str, part: str, out: str, rows: int = 64) -> None:
    old = state.load(checkpoint)
    if old is None:
        sys.exit(f"{checkpoint}: no state")
    model = Model(CONFIGS[old["config"]])
    model.load_state_dict(old["model"])
    with open(out, "w", encoding="ascii") as f:
        json.dump(measure(model, packing.load(part), rows), f, indent=1)
        f.write("\n")
    print(open(out, encoding="ascii").read())


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
