"""The training loop: python3 -m train.train --config small --data PARTS --out RUN --minutes 9

Stops by itself when the time is over, with a checkpoint in RUN/state, and goes on from there
when it is started again with the same arguments; stops for good when the plan's tokens or the
--budget of minutes are used, and then writes RUN/model, the official-layout checkpoint.  PARTS is a folder of
parts (data/build.py), MIX-NUMBER; those of a mix are used in turn.  RUN/log.csv has one line per
report.  --ranks N: N processes of one thread each that average their gradients.
"""
import argparse
import glob
import os
import signal
import subprocess
import sys
import time

import torch
import torch.distributed as dist

from . import packing, state
from .begin import circuits
from .config import CONFIGS
from .export import export
from .model import MTP_WEIGHT, Model
from .moe import hash_table
from .muon import Muon
from .numerics import Numerics
from .plan import PLANS, learning_rate, stage_at
from .probe import Probe
from .rows import Batch

BALANCE_SPEED = 0.001
ATTENTION_RATE = 0.4  # of the experts'; it begins with what it needs (begin.py)
HEAD_RATE = 0.5  # of the embedding's; its rows are as much smaller
REPORT_EVERY_S = 15
SAVE_EVERY_S = 180
RECOMPUTE_ABOVE = 4096  # longer rows keep no activations of a layer, on a CPU too


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--config", choices=CONFIGS, default="small")
    p.add_argument("--data", required=True, help="folder of parts")
    p.add_argument("--tokenizer", help="tokenizer.json, copied beside the exported model")
    p.add_argument("--out", required=True)
    p.add_argument("--minutes", type=float, default=9.0, help="of this piece of the run")
    p.add_argument("--tokens", type=float, help="instead of the plan's")
    p.add_argument("--budget", type=float, default=1e9, help="minutes of all pieces together")
    p.add_argument("--lr", type=float, help="instead of the plan's")
    p.add_argument("--lr-rest", type=float, help="instead of the plan's")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--ranks", type=int, default=1)
    p.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--held", help="held-out part; its answers are counted every --held-every seconds")
    p.add_argument("--held-every", type=float, default=180)
    return p.parse_args()


class Trainer:
    """Model, optimisers and where the run stands."""

    def __init__(self, a: argparse.Namespace):
        self.a, self.plan = a, PLANS[a.config]
        instead = {"tokens": a.tokens, "lr": a.lr, "lr_rest": a.lr_rest}
        self.plan = self.plan.__class__(**{**self.plan.__dict__, **{k: v for k, v in instead.items() if v}})
        torch.manual_seed(a.seed)
        self.model = Model(CONFIGS[a.config])
        counts = self.frequencies()
        for gate in self.model.gates():
            if gate.hashed:  # hash layers: tokens spread over the experts by how often they occur
                gate.tid2eid.copy_(hash_table(counts, gate.weight.shape[0], gate.active))
        circuits(self.model, counts)
        self.model.to(a.device)
        matrix = lambda n, p: p.dim() >= 2 and not n.startswith(("embed", "head")) and \
            not n.endswith(("fn", "ape", "gate.weight"))
        named = list(self.model.named_parameters())
        self.optimizers = [
            Muon([p for n, p in named if matrix(n, p) and ".attn." not in n]),
            Muon([p for n, p in named if matrix(n, p) and ".attn." in n]),
            torch.optim.AdamW([p for n, p in named if not matrix(n, p) and n != "head.weight"], betas=(0.9, 0.95),
                              eps=1e-10, weight_decay=0.0, fused=a.device != "cpu" or None),
            torch.optim.AdamW([self.model.head.weight], betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0,
                              fused=a.device != "cpu" or None)]
        self.rates = (self.plan.lr, ATTENTION_RATE * self.plan.lr, self.plan.lr_rest, HEAD_RATE * self.plan.lr_rest)
        self.step, self.seen, self.spent, self.stream, self.stream_key = 0, 0.0, 0.0, None, None
        self.resume()
        self.clock = time.time()

    def parts(self, mix: str) -> list[str]:
        found = sorted(glob.glob(os.path.join(self.a.data, mix + "-*")))
        if not found:
            raise SystemExit(f"{self.a.data}: no {mix}-* folders; run data/build.py first")
        return found

    def frequencies(self) -> torch.Tensor:
        """How often each token occurs in the training text."""
        words = packing.load(self.parts("short")[0]).words[:4_000_000] & (packing.ANSWER - 1)
        return torch.bincount(torch.from_numpy(words.astype("int64")), minlength=self.model.c.vocab_size).float()

    def resume(self) -> None:
        old = state.load(os.path.join(self.a.out, "state"))
        if old is None:
            return
        if old["config"] != self.a.config:
            raise SystemExit(f"{self.a.out}: a run of config {old['config']}, not {self.a.config}")
        self.model.load_state_dict(old["model"])
        for o, saved in zip(self.optimizers, old.get("optimizers", [])):
            o.load_state_dict(saved)
        self.step, self.seen, self.spent = old["step"], old["seen"], old["spent"]
        print(f"resumed at step {self.step}, {self.seen / 1e6:.1f} M tokens, {self.spent / 60:.0f} minutes")

    def save(self) -> None:
        state.save(os.path.join(self.a.out, "state"),
                   {"config": self.a.config, "model": self.model.state_dict(), "step": self.step, "seen": self.seen,
                    "spent": self.spent, "optimizers": [o.state_dict() for o in self.optimizers]})

    def done(self) -> float:
        """Share of the run that is over, by tokens or by time."""
        return max(self.seen / self.plan.tokens, self.spent / 60 / self.a.budget)

    def batch(self, stage) -> Batch:
        """The next packed rows; every 500 steps, and in another stage, from another part."""
        parts = self.parts(stage.mix)
        key = (stage.mix, stage.size, self.step // 500 % len(parts))
        if self.stream_key != key:
            count = max(1, self.plan.micro_tokens // stage.size)
            self.stream = packing.batches(packing.load(parts[key[2]]), stage.size, count,
                                          self.a.seed * 1000003 + self.step * 101 + self.a.rank)
            self.stream_key = key
        return Batch(*map(torch.from_numpy, next(self.stream))).to(self.a.device)

    def average(self, loads: list[torch.Tensor], tokens: int) -> list[torch.Tensor]:
        """Gradients averaged over the ranks, loads and tokens added, the clock that of rank 0."""
        now = time.time()
        self.spent, self.clock = self.spent + now - self.clock, now
        if self.a.ranks == 1:
            self.seen += tokens
            return loads
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        more = [x.float() for x in loads] + [torch.tensor([float(tokens), self.spent * (self.a.rank == 0)])]
        flat = torch.cat([t.flatten() for t in grads + more])
        dist.all_reduce(flat)
        pieces = flat.split([t.numel() for t in grads + more])
        for g, x in zip(grads, pieces):
            g.copy_(x.view_as(g) / self.a.ranks)
        self.seen += pieces[-1][0].item()
        self.spent = pieces[-1][1].item()
        return list(pieces[len(grads):-1])

    def one_step(self, stage) -> dict:
        """Gradient of step_tokens, clipped; expert biases moved."""
        num = Numerics(stage.mode)
        self.model.save_memory = self.a.device != "cpu" or stage.size > RECOMPUTE_ABOVE
        for layer in self.model.layers:
            layer.attn.watch = stage.watch
        mtp = MTP_WEIGHT * self.plan.mtp_every if self.step % self.plan.mtp_every == 0 else 0.0
        micro = max(self.plan.micro_tokens, stage.size)
        parts = max(1, stage.step_tokens // micro // self.a.ranks)
        loads, sums = None, {"main": 0.0, "mtp": 0.0, "index": 0.0}
        for _ in range(parts):
            b = self.batch(stage)
            with torch.autocast(self.a.device, torch.bfloat16):
                r = self.model.loss(b, num, stage.select, mtp)
            (r.loss / parts).backward()
            loads = r.loads if loads is None else [x + y for x, y in zip(loads, r.loads)]
            for k in sums:
                sums[k] += getattr(r, k) / parts
        loads = self.average(loads, parts * micro)
        share = learning_rate(self.plan, self.step, self.done())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for o, rate in zip(self.optimizers, self.rates):
            o.param_groups[0]["lr"] = rate * share
            o.step()
            o.zero_grad(set_to_none=True)
        for gate, load in zip(self.model.gates(), loads):
            gate.balance(load, BALANCE_SPEED)
        self.step += 1
        spread = max((x.max() / x.float().mean().clamp(min=1)).item() for x in loads)
        return {**sums, "lr": share, "norm": norm.item(), "spread": spread}


def report(path: str, t: Trainer, stage, values: dict, speed: float) -> None:
    values = {"step": t.step, "mtokens": t.seen / 1e6, "minutes": t.spent / 60, "done": t.done(), "mix": stage.mix,
              "size": stage.size, "mode": stage.mode, "tokens_s": speed, **values}
    fresh = not os.path.exists(path)
    with open(path, "a", encoding="ascii") as f:
        if fresh:
            f.write(",".join(values) + "\n")
        f.write(",".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in values.values()) + "\n")
    print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()), flush=True)


def train(a: argparse.Namespace, t: Trainer) -> None:
    """Until the time or the plan is over."""
    first, begin, moments = a.rank == 0, time.time(), {}
    due = lambda what, every: first and time.time() - moments.setdefault(what, begin) > every
    probe = Probe(a.held) if a.held and first else None
    tokens, totals, steps, last = t.seen, {}, 0, t.spent
    stage, more = stage_at(t.plan, t.done())
    stop = []  # rank 0 ends with a checkpoint when it is asked to; the others end with it
    signal.signal(signal.SIGTERM, (lambda *_: stop.append(True)) if first else signal.SIG_IGN)
    while more and not stop and t.spent - last < a.minutes * 60:
        for k, v in t.one_step(stage).items():
            totals[k] = totals.get(k, 0.0) + v
        steps += 1
        if due("report", REPORT_EVERY_S):
            now = time.time()
            report(os.path.join(a.out, "log.csv"), t, stage, {k: v / steps for k, v in totals.items()},
                   (t.seen - tokens) / (now - moments["report"]))
            tokens, totals, steps, moments["report"] = t.seen, {}, 0, now
        if due("save", SAVE_EVERY_S):
            t.save()
            moments["save"] = time.time()
        if probe and due("held", a.held_every):
            found = probe.run(t.model, stage.mode, stage.select)
            print(f"held out at {t.spent / 60:.1f} min:",
                  " ".join(f"{k}={100 * g / max(n, 1):.0f}%" for k, (g, n) in found.items()), flush=True)
            moments["held"] = time.time()
        stage, more = stage_at(t.plan, t.done())
    if first:
        t.save()
    if first and not more:
        size = export(t.model, t.model.c, a.tokenizer, os.path.join(a.out, "model"))
        print(f"done: {os.path.join(a.out, 'model')}, {size / 1e6:.2f} MB")


def main() -> None:
    a = arguments()
    if a.threads or a.ranks > 1:
        torch.set_num_threads(a.threads or 1)
    torch.set_float32_matmul_precision("high")
    os.makedirs(a.out, exist_ok=True)
    meeting, children = os.path.abspath(os.path.join(a.out, "meeting")), []
    if a.ranks > 1:
        if a.rank == 0:
            if os.path.exists(meeting):
                os.remove(meeting)
            children = [subprocess.Popen([sys.executable, "-m", "train.train", *sys.argv[1:], "--rank", str(i)])
                        for i in range(1, a.ranks)]
        dist.init_process_group("gloo", init_method="file://" + meeting, rank=a.rank, world_size=a.ranks)
    train(a, Trainer(a))
    for c in children:
        c.kill()


if __name__ == "__main__":
    main()
