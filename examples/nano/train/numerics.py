"""The number formats of the checkpoint and of native mode (spec 1.3 and 2.1), for training.

A Numerics object says what is rounded:
  float   nothing: the first, long part of training
  exact   weights are on their fp8, fp4 and bf16 grids, activations are float32: what
          `v4infer eval --mode exact` computes from the exported file
  native  activations and KV rows are rounded as well: quantisation-aware training
Every rounding is straight-through: its gradient is the identity.
"""
import torch
from torch import Tensor


def ste(x: Tensor, rounded: Tensor) -> Tensor:
    """The rounded value, with the gradient of x."""
    return x + (rounded - x).detach()


def pow2_ceil(v: Tensor) -> Tensor:
    """Smallest power of two >= v, from the bits of a positive float32 (P2 of spec 2.1)."""
    bits = v.float().contiguous().view(torch.int32)
    exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0).int()
    return (exponent << 23).view(torch.float32)


def e4m3(x: Tensor) -> Tensor:
    """Nearest F8_E4M3 value, ties to even; |x| <= 448."""
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).float()


def e2m1(x: Tensor) -> Tensor:
    """Nearest fp4 value of {0, .5, 1, 1.5, 2, 3, 4, 6}, ties to the even code."""
    a = x.abs().clamp(max=6)
    step = torch.where(a < 2, 0.5, torch.where(a < 4, 1.0, 2.0))
    return torch.copysign(torch.round(a / step) * step, x)


def fp8_scales(x: Tensor, block: int) -> Tensor:
    """Scales of blocks along the last dimension, floor 1e-4 on the maximum."""
    top = x.unflatten(-1, (-1, block)).abs().amax(-1, keepdim=True).clamp(min=1e-4)
    return pow2_ceil(top * (1.0 / 448.0))


def fp8_sim(x: Tensor, block: int) -> Tensor:
    """act_quant, then back (spec 2.1)."""
    s = fp8_scales(x, block)
    return (e4m3(x.unflatten(-1, (-1, block)) / s) * s).flatten(-2)


def fp4_scales(x: Tensor) -> Tensor:
    """Scales of 32 consecutive values of the last dimension."""
    top = x.unflatten(-1, (-1, 32)).abs().amax(-1, keepdim=True).clamp(min=6 * 2.0 ** -126)
    return pow2_ceil(top * (1.0 / 6.0))


def fp4_sim(x: Tensor) -> Tensor:
    """fp4 with one scale per 32 values, then back."""
    s = fp4_scales(x)
    return (e2m1(x.unflatten(-1, (-1, 32)) / s) * s).flatten(-2)


def fp8_weight(w: Tensor) -> tuple[Tensor, Tensor]:
    """(values / scale on the e4m3 grid, scales [rows/128, columns/128]) of spec 1.3."""
    rows, cols = w.shape
    pad = torch.nn.functional.pad(w, (0, -cols % 128, 0, -rows % 128))
    top = pad.unflatten(0, (-1, 128)).unflatten(2, (-1, 128)).abs().amax((1, 3)).clamp(min=1e-4)
    s = pow2_ceil(top * (1.0 / 448.0))
    full = s.repeat_interleave(128, 0).repeat_interleave(128, 1)[:rows, :cols]
    return e4m3(w / full), s


def bf16(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).float()


def hadamard(x: Tensor) -> Tensor:
    """Sylvester-ordered Walsh-Hadamard transform of the last dimension, orthonormal."""
    n, h = x.shape[-1], 1
    y = x
    while h < n:
        z = y.unflatten(-1, (n // (2 * h), 2, h))
        y = torch.stack((z[..., 0, :] + z[..., 1, :], z[..., 0, :] - z[..., 1, :]), -2).flatten(-3)
        h *= 2
    return y * n ** -0.5


class Numerics:
    """The roundings of one mode; an instance is passed down through the forward pass."""

    def __init__(self, mode: str):
        if mode not in ("float", "exact", "native"):
            raise ValueError(f"mode is {mode}, expected float, exact or native")
        self.mode = mode
        self.grid, self.native = mode != "float", mode == "native"

    def r(self, x: Tensor) -> Tensor:
        """To bf16, wherever the reference stores bf16."""
        return ste(x, bf16(x)) if self.native else x

    def act(self, x: Tensor) -> Tensor:
        """The input of a quantised linear: fp8 in blocks of 128."""
        return ste(x, fp8_sim(x, 128)) if self.native else x

    def row(self, x: Tensor, rope: int) -> Tensor:
        """A KV row: fp8 in blocks of 64, except the last `rope` channels."""
        if not self.native:
            return x
        head = x[..., :-rope]
        return torch.cat((ste(head, fp8_sim(head, 64)), x[..., -rope:]), -1)

    def key(self, x: Tensor) -> Tensor:
        """An indexer query or key: Hadamard, then fp4 (spec 2.6)."""
        if not self.native:
            return x  # an orthogonal transform of both sides changes no dot product
        y = self.r(hadamard(x))
        return ste(y, fp4_sim(y))

    def weight(self, w: Tensor, kind: str) -> Tensor:
        """A weight on the grid of its format: fp8, fp4, bf16 or f32."""
        if not self.grid or kind == "f32":
            return w
        if kind == "fp4":
            return ste(w, fp4_sim(w))
        if kind == "bf16":
            return ste(w, bf16(w))
        codes, s = fp8_weight(w)
        full = s.repeat_interleave(128, 0).repeat_interleave(128, 1)[:w.shape[0], :w.shape[1]]
        return ste(w, codes * full)
