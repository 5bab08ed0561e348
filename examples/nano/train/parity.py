"""Does the exported file mean what PyTorch computes?  A check for maintainers.

    python3 -m train.parity export FOLDER CONFIG [TOKENS] [TOKENIZER]   needs torch
    python3 -m train.parity oracle FOLDER   needs numpy only; compares with tests/oracle/v4_oracle.py
    python3 -m train.parity trained FOLDER STATE PART [COUNT]   needs torch; a trained model instead
    python3 -m train.parity engine FOLDER V4INFER   compares with `v4infer eval --mode exact`
    python3 -m train.parity packing CONFIG   packed documents == each one alone; needs torch

`export` writes a random model with everything that training would change made non-trivial
(biases, sinks, gates), and the logits of PyTorch in modes exact and native beside it.  `trained`
writes the model of a run's state, and the same for COUNT (20) texts of 512 tokens of a held-out part.
"""
import json
import os
import subprocess
import sys

import numpy as np

LIMIT = 1e-3


def write(folder: str, config_name: str, count: int, tokenizer: str | None) -> None:
    """A random model, random tokens, logits.npy, native.npy and mtp.npy."""
    import torch

    from .config import CONFIGS
    from .export import export
    from .model import Model
    from .numerics import Numerics
    from .rows import single
    torch.manual_seed(5)
    c = CONFIGS[config_name]
    model = Model(c)
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("attn_sink", "ape", "bias", "base", "scale", "norm.weight")):
                p += 0.3 * torch.randn_like(p)
    ids = torch.cat((torch.zeros(1), torch.randint(3, c.vocab_size - 300, (count - 1,)))).long()
    with torch.no_grad():
        main, draft = model.logits(single(ids), Numerics("exact"), draft=True)
        native = model.logits(single(ids), Numerics("native"))
    size = export(model, c, tokenizer, folder)
    print(f"{folder}: {size / 1e6:.2f} MB, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    for name, value in (("logits", main), ("mtp", draft), ("native", native)):
        np.save(os.path.join(folder, name + ".npy"), value[0, :count].numpy())
    with open(os.path.join(folder, "ids.json"), "w", encoding="ascii") as f:
        json.dump(ids.tolist(), f)


def packed(config_name: str) -> bool:
    """Documents in one packed row have the logits that each has alone."""
    import torch

    from . import packing
    from .config import CONFIGS
    from .model import Model
    from .numerics import Numerics
    from .rows import Batch, single
    torch.manual_seed(3)
    model, row, g = Model(CONFIGS[config_name]), packing.Row(1024), np.random.default_rng(0)
    docs = [g.integers(3, 8000, n).astype(np.uint16) for n in (301, 130, 5, 389)]
    for d in docs:
        row.add(d)
    b, good = Batch(*[torch.from_numpy(f)[None] for f in row.fields()]), True
    with torch.no_grad():
        for select in (False, True):
            together = model.logits(b, Numerics("exact"), select)[0]
            for i, d in enumerate(docs):
                alone = model.logits(single(torch.from_numpy(d.astype(np.int64))), Numerics("exact"), select)
                good &= compare(f"packed document {i}, top-k {select}", together[b.doc[0] == i].numpy(),
                                alone[0, :len(d)].numpy(), 1e-4)
    return good


def compare(what: str, got: np.ndarray, want: np.ndarray, limit: float | None = LIMIT) -> bool:
    """Prints the largest difference and whether it is allowed."""
    off = np.abs(got - want).max(-1)
    flip = int(np.argmax(off > LIMIT)) if (off > LIMIT).any() else len(off)
    same = float((got.argmax(-1) == want.argmax(-1)).mean())
    good = limit is None or bool(off.max() <= limit)
    print(f"{what}: largest difference {off.max():.2e}, median of positions {np.median(off):.2e}, "
          f"within {LIMIT} up to position {flip} of {len(off)}, arg-max equal {100 * same:.1f} %, {'ok' if good else 'FAILED'}")
    return good


def oracle(folder: str) -> bool:
    """The numpy oracle on every shard of the folder."""
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
    sys.path.insert(0, os.path.join(root, "tests/oracle"))
    import v4_oracle
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            tensors.update(v4_oracle.read_st(os.path.join(folder, name)))
    config = json.load(open(os.path.join(folder, "config.json"), encoding="ascii"))
    ids = np.array(json.load(open(os.path.join(folder, "ids.json"), encoding="ascii")))
    load = lambda n: np.load(os.path.join(folder, n + ".npy"))
    m = v4_oracle.Model(config, tensors, "f32", False)
    h = m.hidden(ids)
    got = m.norm(m.hc_head(h), "norm.weight") @ m.w.f("head.weight").T
    good = compare("oracle, exact", got, load("logits"))
    draft = m.mtp_logits(h[:-1], ids[1:])
    good &= compare("oracle, exact, MTP", draft, load("mtp")[:-1])
    native = v4_oracle.Model(config, tensors, "bf16", True).logits(ids)
    compare("oracle, native (chaotic after the first flip; for information)", native, load("native"), None)
    return good


def trained(folder: str, checkpoint: str, part: str, count: int = 20) -> None:
    """ids-N.json, logits-N.npy and native-N.npy of a trained model, and its export."""
    import torch

    from . import packing, state
    from .config import CONFIGS
    from .export import export
    from .model import Model
    from .numerics import Numerics
    from .rows import single
    old, texts = state.load(checkpoint), packing.load(part)
    model = Model(CONFIGS[old["config"]])
    model.load_state_dict(old["model"])
    export(model, CONFIGS[old["config"]], None, folder)
    for i in range(count):
        at = i * (len(texts.words) - 512) // count
        ids = torch.from_numpy((texts.words[at:at + 512] & (packing.ANSWER - 1)).astype(np.int64))
        with open(os.path.join(folder, f"ids-{i:02d}.json"), "w", encoding="ascii") as f:
            json.dump(ids.tolist(), f)
        for name, mode in (("logits", "exact"), ("native", "native")):
            with torch.no_grad():
                value = model.logits(single(ids), Numerics(mode))[0].numpy()
            np.save(os.path.join(folder, f"{name}-{i:02d}.npy"), value)


def engine(folder: str, command: str) -> bool:
    """libv4infer itself, on every ids file of the folder."""
    out, good = os.path.join(folder, "engine.npy"), True
    for name in sorted(n for n in os.listdir(folder) if n.startswith("ids") and n.endswith(".json")):
        for mode, want, limit in (("exact", "logits", LIMIT), ("native", "native", None)):
            ids = os.path.join(folder, name)
            subprocess.run([command, "eval", folder, "--ids", ids, "--mode", mode, "--threads", "1", "--out", out],
                           check=True)
            saved = np.load(os.path.join(folder, name.replace("ids", want).replace(".json", ".npy")))
            good &= compare(f"v4infer, {mode}, {name}", np.load(out), saved, limit)
    return good


def main(step: str, target: str, *rest: str) -> bool:
    if step == "export":
        write(target, rest[0], int(rest[1]) if len(rest) > 1 else 400, rest[2] if len(rest) > 2 else None)
        return True
    if step == "trained":
        trained(target, rest[0], rest[1], *map(int, rest[2:]))
        return True
    if step == "packing":
        return packed(target)
    return oracle(target) if step == "oracle" else engine(target, rest[0])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(0 if main(*sys.argv[1:]) else 1)
