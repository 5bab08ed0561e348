"""Muon for the matrices between embedding and head, AdamW for the rest (V4 paper, 2.5).

The update of a matrix is its momentum with all singular values near one, by five steps of a
Newton-Schulz iteration; the learning rate is then a share of the matrix itself, whatever its gradient.
"""
import torch
from torch import Tensor

STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315


def orthogonal(g: Tensor) -> Tensor:
    """[..., n, m] with singular values near 1; bf16, which is enough for a direction."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        s = x @ x.mT
        x = A * x + (B * s + C * (s @ s)) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; matrices of experts [E, n, m] are taken one by one."""

    def __init__(self, params, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(m, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5)
