"""Norm, linear and RoPE: the small parts that every layer shares (spec 2.1)."""
import math

import torch
from torch import Tensor, nn

from . import fused
from .config import ROPE_SCALING, Config
from .numerics import Numerics


class Weight(nn.Module):
    """A matrix with the format in which it is exported: fp8, fp4, bf16 or f32."""

    def __init__(self, kind: str, *shape: int, std: float | None = None):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.randn(*shape) * (shape[-1] ** -0.5 if std is None else std))

    def on(self, num: Numerics) -> Tensor:
        """The values that the arithmetic of `num` sees."""
        return num.weight(self.weight, self.kind)

    def forward(self, x: Tensor, num: Numerics) -> Tensor:
        """x @ weight^T; the input of an fp8 or fp4 weight is quantised (spec 2.1, Linear)."""
        if self.kind in ("fp8", "fp4"):
            return num.r(nn.functional.linear(num.act(x), self.on(num)).float())
        if self.kind == "f32_out":  # bf16 weight, float32 arithmetic, nothing rounded after
            if torch.is_autocast_enabled(x.device.type) and x.device.type == "cpu":
                return nn.functional.linear(x, num.weight(self.weight, "bf16")).float()  # 4 times as fast
            with torch.autocast(x.device.type, enabled=False):
                return nn.functional.linear(x.float(), num.weight(self.weight, "bf16"))
        return num.r(nn.functional.linear(x, self.on(num)).float())


class Norm(nn.Module):
    """RMSNorm in float32, one rounding at the end."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps, self.kind = eps, "bf16"
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, num: Numerics) -> Tensor:
        if fused.usable(x):
            return num.r(fused.RmsNorm.apply(x, num.weight(self.weight, "bf16"), self.eps))
        x = x.float()
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return num.r(num.weight(self.weight, "bf16") * y)


def head_norm(q: Tensor, eps: float, num: Numerics) -> Tensor:
    """The unweighted norm of each query head, in bf16 arithmetic (spec 2.4 step 2)."""
    if fused.usable(q) and not num.native:
        return fused.RmsNorm.apply(q, None, eps)
    mean = num.r(num.r(q * q).mean(-1, keepdim=True))
    return num.r(q * num.r(torch.rsqrt(num.r(mean + eps))))


def frequencies(c: Config, compressed: bool) -> Tensor:
    """Table A (window layers) or B (compressed layers, theta 160000 with YaRN) of spec 2.1."""
    rd = c.qk_rope_head_dim
    theta = c.compress_rope_theta if compressed else c.rope_theta
    exponent = torch.arange(0, rd, 2, dtype=torch.float32) / rd
    f = 1.0 / torch.pow(torch.tensor(theta, dtype=torch.float32), exponent)
    if not compressed:
        return f
    y = ROPE_SCALING

    def turn(rotations: float) -> float:
        n = y["original_max_position_embeddings"]
        return rd * math.log(n / (rotations * 2 * math.pi)) / (2 * math.log(theta))
    low = max(math.floor(turn(y["beta_fast"])), 0)
    high = min(math.ceil(turn(y["beta_slow"])), rd - 1)
    keep = 1 - ((torch.arange(rd // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return f / y["factor"] * (1 - keep) + f * keep


def rope(x: Tensor, pos: Tensor, freq: Tensor, num: Numerics, inverse: bool = False) -> Tensor:
    """Rotates the last channels of x [B, S, ..., d] in adjacent pairs; pos is [B, S]."""
    rd = 2 * freq.numel()
    angle = pos.float()[..., None] * freq
    if fused.usable(x):
        return num.r(fused.Turn.apply(x, angle.cos(), angle.sin(), -1.0 if inverse else 1.0))
    angle = angle.view(*pos.shape, *[1] * (x.dim() - 3), freq.numel())
    cos, sin = angle.cos(), angle.sin()
    if inverse:
        sin = -sin
    head, tail = x[..., :-rd], x[..., -rd:].float().unflatten(-1, (-1, 2))
    a, b = tail[..., 0], tail[..., 1]
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((head.float(), num.r(turned)), -1)
