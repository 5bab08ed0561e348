"""Writes the model as an official-layout checkpoint (spec 1.3, 1.4, 1.5).

    python3 -m train.export RUN/state TOKENIZER.json FOLDER

Shards stay below 16 MiB.  Every quantised tensor is written from the very grid that
Numerics.weight() computes with, so the file is exactly what was trained.
"""
import glob
import json
import os
import shutil
import struct
import sys

import numpy as np
import torch

from . import state
from .config import CONFIGS, Config
from .model import Model
from .moe import Gate, Moe
from .layers import Norm, Weight
from .hyper import Hyper, HyperHead
from .numerics import e2m1, fp4_scales, fp8_weight

SHARD_BYTES = 12 << 20
Tensor = tuple[str, np.ndarray]  # dtype name of safetensors, raw array


def bf16_bits(w: torch.Tensor) -> np.ndarray:
    return w.detach().to(torch.bfloat16).contiguous().view(torch.int16).numpy().view(np.uint16)


def e8m0(scale: torch.Tensor) -> np.ndarray:
    """Powers of two to their exponent byte."""
    return (scale.contiguous().view(torch.int32) >> 23).to(torch.uint8).numpy()


def put_fp8(out: dict, name: str, w: torch.Tensor) -> None:
    codes, scale = fp8_weight(w)
    out[name + ".weight"] = ("F8_E4M3", codes.to(torch.float8_e4m3fn).view(torch.uint8).numpy())
    out[name + ".scale"] = ("F8_E8M0", e8m0(scale))


def put_fp4(out: dict, name: str, w: torch.Tensor) -> None:
    """Two codes per byte, the low nibble first (spec 1.3)."""
    s = fp4_scales(w)
    v = e2m1(w.unflatten(-1, (-1, 32)) / s).flatten(-2)
    code = torch.tensor([0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7])[(v.abs() * 2).long()]
    code = (code | ((v < 0).long() << 3)).to(torch.uint8)
    out[name + ".weight"] = ("I8", (code[:, 0::2] | code[:, 1::2] << 4).numpy().view(np.int8))
    out[name + ".scale"] = ("F8_E8M0", e8m0(s.squeeze(-1)))


def put(out: dict, name: str, module: torch.nn.Module) -> None:
    """The module's own parameters under the official names."""
    f32 = lambda t: ("F32", t.detach().float().numpy())
    if isinstance(module, Weight) and module.weight.dim() == 2:
        if module.kind == "fp8":
            put_fp8(out, name, module.weight.detach())
        else:
            out[name + ".weight"] = ("BF16", bf16_bits(module.weight))
    elif isinstance(module, Norm):
        out[name + ".weight"] = ("BF16", bf16_bits(module.weight))
    elif isinstance(module, (Hyper, HyperHead)):
        for part in ("fn", "base", "scale"):
            out[f"{name}_{part}"] = f32(getattr(module, part))
    elif isinstance(module, Gate):
        out[name + ".weight"] = ("BF16", bf16_bits(module.weight))
        if module.hashed:
            out[name + ".tid2eid"] = ("I64", module.tid2eid.numpy())
        else:
            out[name + ".bias"] = f32(module.bias)
    elif isinstance(module, Moe):
        for e in range(module.count):
            for w in ("w1", "w2", "w3"):
                put_fp4(out, f"{name}.experts.{e}.{w}", getattr(module, w).weight.detach()[e])
    for own in ("attn_sink", "ape"):
        if own in module._parameters:
            out[f"{name}.{own}"] = f32(getattr(module, own))


def tensors(model: Model) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        put(out, name, module)
    return out


def write_shard(path: str, part: dict[str, Tensor]) -> None:
    header, at = {}, 0
    for name, (dtype, a) in part.items():
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, a in part.values():
            f.write(np.ascontiguousarray(a).tobytes())


def write_json(path: str, value: dict) -> None:
    with open(path, "w", encoding="ascii") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def export(model: Model, config: Config, tokenizer: str | None, folder: str) -> int:
    """Writes the folder (older shards in it go away); returns the bytes of its files."""
    os.makedirs(folder, exist_ok=True)
    for old in glob.glob(os.path.join(folder, "model*.safetensors")):
        os.remove(old)
    parts: list[dict[str, Tensor]] = [{}]
    for name, (dtype, a) in sorted(tensors(model.cpu()).items()):
        if parts[-1] and sum(t.nbytes for _, t in parts[-1].values()) + a.nbytes > SHARD_BYTES:
            parts.append({})
        parts[-1][name] = (dtype, a)
    names = {}
    for i, part in enumerate(parts):
        shard = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        write_shard(os.path.join(folder, shard), part)
        names.update({n: shard for n in part})
    total = sum(a.nbytes for part in parts for _, a in part.values())
    write_json(os.path.join(folder, "model.safetensors.index.json"),
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))})
    write_json(os.path.join(folder, "config.json"), config.hf())
    write_json(os.path.join(folder, "generation_config.json"),
               {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True, "temperature": 1.0, "top_p": 1.0})
    if tokenizer:
        shutil.copy(tokenizer, os.path.join(folder, "tokenizer.json"))
    files = glob.glob(os.path.join(folder, "*.safetensors")) + glob.glob(os.path.join(folder, "*.json"))
    return sum(map(os.path.getsize, files))


def main(checkpoint: str, tokenizer: str, folder: str) -> None:
    old = state.load(checkpoint)
    if old is None:
        sys.exit(f"{checkpoint}: no state")
    config = CONFIGS[old["config"]]
    model = Model(config)
    model.load_state_dict(old["model"])
    print(f"{folder}: {export(model, config, tokenizer, folder) / 1e6:.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
