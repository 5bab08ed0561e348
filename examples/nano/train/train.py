"""The training loop: python3 -m train.train --config small --data PARTS --out RUN --minutes 9

Stops by itself when the time is over, with a checkpoint in RUN/state, and goes on from there
when it is started again with the same arguments; stops for good when the plan's tokens are
used, and then writes RUN/model, the official-layout checkpoint.  PARTS is a folder of parts
(data/build.py); several parts are used in turn.  RUN/log.csv has one line per report.
"""
import argparse
import glob
import os
import time

import torch

from . import packing, state
from .config import CONFIGS
from .export import export
from .model import Model
from .moe import hash_table
from .numerics import Numerics
from .plan import PLANS, learning_rate, stage_at
from .rows import Batch

BALANCE_SPEED = 0.001
REPORT_EVERY_S = 15
SAVE_EVERY_S = 180
RECOMPUTE_ABOVE = 1024  # longer rows keep no activations of a layer, on a CPU too


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--config", choices=CONFIGS, default="small")
    p.add_argument("--data", required=True, help="folder of parts")
    p.add_argument("--tokenizer", help="tokenizer.json, copied beside the exported model")
    p.add_argument("--out", required=True)
    p.add_argument("--minutes", type=float, default=9.0)
    p.add_argument("--tokens", type=float, help="instead of the plan's")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=1)
    return p.parse_args()


class Trainer:
    """Model, optimiser and where the run stands."""

    def __init__(self, a: argparse.Namespace):
        self.a, self.plan = a, PLANS[a.config]
        if a.tokens:
            self.plan = self.plan.__class__(**{**self.plan.__dict__, "tokens": a.tokens})
        torch.manual_seed(a.seed)
        self.parts = [packing.load(p) for p in sorted(glob.glob(os.path.join(a.data, "part-*")))]
        if not self.parts:
            raise SystemExit(f"{a.data}: no part-* folders; run data/build.py first")
        self.model = Model(CONFIGS[a.config])
        self.route_by_frequency()
        self.model.to(a.device)
        self.optimizer = torch.optim.AdamW(self.groups(), betas=(0.9, 0.95), eps=1e-10,
                                           fused=a.device != "cpu" or None)
        self.step, self.seen, self.stream, self.stream_key = 0, 0.0, None, None
        self.resume()

    def groups(self) -> list[dict]:
        """Weight decay for matrices of linears only."""
        matrix = lambda n, p: p.dim() >= 2 and "embed" not in n and not n.endswith(("fn", "ape"))
        named = list(self.model.named_parameters())
        return [{"params": [p for n, p in named if matrix(n, p)], "weight_decay": 0.1},
                {"params": [p for n, p in named if not matrix(n, p)], "weight_decay": 0.0}]

    def route_by_frequency(self) -> None:
        """Hash layers: tokens spread over the experts by how often they occur."""
        c = self.model.c
        counts = torch.zeros(c.vocab_size)
        for part in self.parts[:1]:
            words = torch.from_numpy((part.words[:4_000_000] & (packing.ANSWER - 1)).astype("int64"))
            counts += torch.bincount(words, minlength=c.vocab_size)
        for gate in self.model.gates():
            if gate.hashed:
                gate.tid2eid.copy_(hash_table(counts, c.n_routed_experts, c.num_experts_per_tok))

    def resume(self) -> None:
        old = state.load(os.path.join(self.a.out, "state"))
        if old is None:
            return
        if old["config"] != self.a.config:
            raise SystemExit(f"{self.a.out}: a run of config {old['config']}, not {self.a.config}")
        self.model.load_state_dict(old["model"])
        if "optimizer" in old:
            self.optimizer.load_state_dict(old["optimizer"])
        self.step, self.seen = old["step"], old["seen"]
        print(f"resumed at step {self.step}, {self.seen / 1e6:.1f} M tokens")

    def save(self) -> None:
        state.save(os.path.join(self.a.out, "state"),
                   {"config": self.a.config, "model": self.model.state_dict(), "step": self.step,
                    "seen": self.seen, "optimizer": self.optimizer.state_dict()})

    def batch(self, size: int) -> Batch:
        """The next packed rows; every 500 steps, and in another stage, from another part."""
        key = (size, self.step // 500 % len(self.parts))
        if self.stream_key != key:
            count = max(1, self.plan.micro_tokens // size)
            self.stream = packing.batches(self.parts[key[1]], size, count, self.a.seed * 1000003 + self.step)
            self.stream_key = key
        return Batch(*map(torch.from_numpy, next(self.stream))).to(self.a.device)

    def one_step(self, stage) -> dict:
        """Gradient of step_tokens, clipped; expert biases moved."""
        cuda, num = self.a.device != "cpu", Numerics(stage.mode)
        self.model.save_memory = cuda or stage.size > RECOMPUTE_ABOVE
        parts = max(1, self.plan.step_tokens // max(self.plan.micro_tokens, stage.size))
        loads, sums = None, {"main": 0.0, "mtp": 0.0, "index": 0.0}
        for _ in range(parts):
            b = self.batch(stage.size)
            with torch.autocast(self.a.device, torch.bfloat16, enabled=cuda):
                r = self.model.loss(b, num, stage.select)
            (r.loss / parts).backward()
            loads = r.loads if loads is None else [x + y for x, y in zip(loads, r.loads)]
            for k in sums:
                sums[k] += getattr(r, k) / parts
            self.seen += b.ids.numel()
        rate = learning_rate(self.plan, self.step, self.seen)
        for g in self.optimizer.param_groups:
            g["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for gate, load in zip(self.model.gates(), loads):
            gate.balance(load, BALANCE_SPEED)
        self.step += 1
        spread = max((x.max() / x.float().mean()).item() for x in loads)
        return {**sums, "lr": rate, "norm": norm.item(), "spread": spread}


def report(path: str, t: Trainer, stage, values: dict, speed: float) -> None:
    values = {"step": t.step, "mtokens": t.seen / 1e6, "size": stage.size, "mode": stage.mode,
              "tokens_s": speed, **values}
    fresh = not os.path.exists(path)
    with open(path, "a", encoding="ascii") as f:
        if fresh:
            f.write(",".join(values) + "\n")
        f.write(",".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in values.values()) + "\n")
    print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()), flush=True)


def main() -> None:
    a = arguments()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("high")
    os.makedirs(a.out, exist_ok=True)
    t = Trainer(a)
    begin = saved = marked = time.time()
    tokens = t.seen
    stage, more = stage_at(t.plan, t.seen)
    while more and time.time() - begin < a.minutes * 60:
        values = t.one_step(stage)
        now = time.time()
        if now - marked > REPORT_EVERY_S:
            report(os.path.join(a.out, "log.csv"), t, stage, values, (t.seen - tokens) / (now - marked))
            tokens, marked = t.seen, now
        if time.time() - saved > SAVE_EVERY_S:
            t.save()
            saved = time.time()
        stage, more = stage_at(t.plan, t.seen)
    t.save()
    if not more:
        size = export(t.model, t.model.c, a.tokenizer, os.path.join(a.out, "model"))
        print(f"done: {os.path.join(a.out, 'model')}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
