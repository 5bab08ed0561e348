"""Checkpoints of a training run: pieces below 16 MiB, written so that a kill loses nothing.

A new state is written beside the old one and renamed when it is complete.  To carry a run to
another machine:  python3 -m train.state compact RUN/state OUT  writes bf16 weights without the
moments of the optimiser, a sixth of the bytes; a run resumed from it gathers them again.
"""
import io
import os
import shutil
import sys

import torch

PIECE_BYTES = 15 << 20


def save(folder: str, state: dict) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data, fresh = buffer.getvalue(), folder + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh)
    for i, a in enumerate(range(0, len(data), PIECE_BYTES)):
        with open(os.path.join(fresh, f"state.{i:03d}"), "wb") as f:
            f.write(data[a:a + PIECE_BYTES])
    old = folder + ".old"
    shutil.rmtree(old, ignore_errors=True)
    if os.path.isdir(folder):
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: str) -> dict | None:
    """The last complete state, or None."""
    for path in (folder, folder + ".old"):
        if os.path.isdir(path):
            data = b"".join(open(os.path.join(path, f), "rb").read() for f in sorted(os.listdir(path)))
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return None


def compact(folder: str, out: str) -> None:
    """The state in `folder` without moments, float32 as bf16 (but for the routers' biases)."""
    old = load(folder)
    if old is None:
        raise SystemExit(f"{folder}: no state")
    small = lambda n, t: t.bfloat16() if t.is_floating_point() and not n.endswith("bias") else t
    old["model"] = {n: small(n, t) for n, t in old["model"].items()}
    save(out, {k: v for k, v in old.items() if k != "optimizer"})


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "compact":
        sys.exit(__doc__)
    compact(*sys.argv[2:])
