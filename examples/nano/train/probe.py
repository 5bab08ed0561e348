"""How many held-out answers a model gets right while it trains, kind by kind.

Teacher forcing, products in bf16: an answer counts when the arg-max of every one of its tokens is right.
"""
import json
import os

import numpy as np
import torch

from . import packing
from .model import Model
from .numerics import Numerics
from .rows import Batch


class Probe:
    """The first documents of each kind of a held-out part, packed kind by kind."""

    def __init__(self, folder: str, size: int = 1024, rows: int = 1):
        part, self.batches = packing.load(folder), {}
        with open(os.path.join(folder, "kinds.json"), encoding="ascii") as f:
            kinds = np.array(json.load(f))
        for kind in dict.fromkeys(kinds.tolist()):
            of_kind = [part.doc(i) for i in np.flatnonzero(kinds == kind)]
            packed = []
            for row_size in (size, 4096) if kind == "recall_long" else (size,):
                mine = [d for d in of_kind if row_size // 4 < len(d) <= row_size or len(d) <= row_size == size]
                packed += self.pack(mine, row_size, rows)
            self.batches[kind] = packed

    @staticmethod
    def pack(docs: list[np.ndarray], size: int, rows: int) -> list[Batch]:
        out, row = [], packing.Row(size)
        for d in docs:
            if row.free() < len(d):
                out.append(row)
                row = packing.Row(size)
            row.add(d)
        return [Batch(*(torch.from_numpy(f)[None] for f in r.fields())) for r in (out or [row])[:rows]]

    @torch.no_grad()
    def run(self, model: Model, mode: str, select: bool) -> dict[str, tuple[int, int]]:
        """Right answers and answers of each kind."""
        found = {}
        for kind, batches in self.batches.items():
            good = count = 0
            for b in batches:
                with torch.autocast(b.ids.device.type, torch.bfloat16):
                    logits = model.logits(b, Numerics(mode), select)
                hit = logits[0, :-1].argmax(-1) == b.ids[0, 1:]
                ours = b.weight[0, 1:] > 0
                start = ours & ~torch.cat((torch.zeros(1, dtype=torch.bool), ours[:-1]))
                number = (start.cumsum(0) - 1)[ours]
                if len(number):
                    wrong = torch.zeros(int(number[-1]) + 1).index_add(0, number, (~hit[ours]).float())
                    good, count = good + int((wrong == 0).sum()), count + len(wrong)
            found[kind] = (good, count)
        return found
