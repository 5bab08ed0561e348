"""What is trained when: the curriculum, the switch to top-k, the switch to native.

A stage is a share of the run.  The order: short stories and dense attention, the indexer joining
in, top-k at 4k, and at last native arithmetic with the learning rate going down to zero, so that
the exported file is exactly what was trained.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    share: float  # of the run
    mix: str      # of data/build.py
    size: int     # tokens per row
    step_tokens: int  # per optimiser step, all ranks together
    watch: bool   # the indexer learns
    select: bool  # CSA sees the top-k only
    mode: str     # of numerics.py


@dataclass(frozen=True)
class Plan:
    tokens: float        # all stages together
    micro_tokens: int    # per forward pass
    lr: float            # of Muon, for matrices
    lr_rest: float       # of AdamW, for all else
    mtp_every: int       # steps; its weight grows accordingly
    stages: tuple[Stage, ...]
    warmup: int = 30    # steps
    falling: float = 0.35  # share of the run in which the learning rate falls


def curriculum(batch: int) -> tuple[Stage, ...]:
    return (Stage(0.40, "easy", 1024, batch, False, False, "float"),
            Stage(0.25, "short", 1024, batch, True, False, "float"),
            Stage(0.10, "long", 4096, 2 * batch, True, True, "float"),
            Stage(0.17, "short", 1024, batch, True, True, "native"),
            Stage(0.08, "long", 4096, 2 * batch, True, True, "native"))


PLANS = {
    "small": Plan(12e6, 1024, 0.02, 3e-3, 3, curriculum(2048)),
    "full": Plan(250e6, 65536, 0.02, 3e-3, 1, curriculum(131072)),
}


def stage_at(plan: Plan, done: float) -> tuple[Stage, bool]:
    """The stage when a share `done` of the run is over."""
    edge = 0.0
    for stage in plan.stages:
        edge += stage.share
        if done < min(edge, 1 - 1e-9):
            return stage, True
    return plan.stages[-1], False


def learning_rate(plan: Plan, step: int, done: float) -> float:
    """Share of the peak: warm-up, constant, then straight down to zero at the end."""
    return min(1.0, (step + 1) / plan.warmup) * min(1.0, max(0.0, 1 - done) / plan.falling)
