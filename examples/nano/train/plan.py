"""What is trained when: the length curriculum, the switch to top-k, the switch to native.

A stage is a share of the token budget.  The order: dense attention at 1k (the indexer learns by
watching), top-k at 4k and 16k, and at last native arithmetic with the learning rate going down
to zero, so that the exported file is exactly what was trained.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    share: float  # of all tokens
    size: int     # tokens per row
    select: bool  # CSA sees the top-k only
    mode: str     # of numerics.py


@dataclass(frozen=True)
class Plan:
    tokens: float      # all stages together
    step_tokens: int   # per optimiser step
    micro_tokens: int  # per forward pass
    lr: float
    stages: tuple[Stage, ...]
    warmup: int = 200  # steps


CURRICULUM = (Stage(0.50, 1024, False, "float"), Stage(0.10, 1024, True, "float"),
              Stage(0.15, 4096, True, "float"), Stage(0.05, 16384, True, "float"),
              Stage(0.15, 4096, True, "native"), Stage(0.05, 16384, True, "native"))
PLANS = {
    "small": Plan(25e6, 16384, 4096, 3e-3, CURRICULUM),
    "full": Plan(250e6, 131072, 65536, 2e-3, CURRICULUM),
}


def stage_at(plan: Plan, seen: float) -> tuple[Stage, bool]:
    """The stage after `seen` tokens."""
    edge = 0.0
    for stage in plan.stages:
        edge += stage.share * plan.tokens
        if seen < edge:
            return stage, True
    return plan.stages[-1], False


def learning_rate(plan: Plan, step: int, seen: float) -> float:
    """Warm-up, constant, then straight down over the native stages."""
    native = sum(s.share for s in plan.stages if s.mode == "native")
    left = max(0.0, 1 - seen / plan.tokens)
    return plan.lr * min(1.0, (step + 1) / plan.warmup) * min(1.0, left / native)
