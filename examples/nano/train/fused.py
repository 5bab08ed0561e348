"""The small loops of mHC, norms, RoPE and softmax in C (fused.c), compiled at the first use; None without a compiler.

Only for float32 on a CPU; everywhere else hyper.py's own PyTorch lines are used.
"""
import ctypes
import hashlib
import os
import subprocess
import tempfile

import torch
from torch import Tensor

HERE = os.path.dirname(os.path.abspath(__file__))


def build() -> ctypes.CDLL | None:
    """Compiles fused.c into the temporary folder, under a name made of its content."""
    with open(os.path.join(HERE, "fused.c"), "rb") as f:
        name = f"nano-fused-{os.getuid()}-{hashlib.sha256(f.read()).hexdigest()[:16]}.so"
    path = os.path.join(tempfile.gettempdir(), name)
    if not os.path.exists(path):
        fresh = f"{path}.{os.getpid()}"
        command = ["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-o", fresh,
                   os.path.join(HERE, "fused.c"), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        os.replace(fresh, path)
    return ctypes.CDLL(path)


LIB = build()


def usable(*tensors: Tensor) -> bool:
    return LIB is not None and all(t.device.type == "cpu" for t in tensors)


def call(name: str, *args) -> None:
    convert = lambda a: ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a
    getattr(LIB, name)(*map(convert, args))


def flat(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().float().contiguous() for t in tensors]


def size(x: Tensor, tail: int) -> ctypes.c_long:
    """Elements before the last `tail` dimensions."""
    return ctypes.c_long(x[(...,) + (0,) * tail].numel())


class Sinkhorn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, m, iters, eps):
        (m,) = flat(m)
        ctx.save_for_backward(m)
        ctx.rest = (size(m, 2), ctypes.c_int(iters), ctypes.c_float(eps))
        out = torch.empty_like(m)
        call("sinkhorn", m, out, None, None, *ctx.rest)
        return out

    @staticmethod
    def backward(ctx, grad):
        (m,), (g,) = ctx.saved_tensors, flat(grad)
        out = torch.empty_like(m)
        call("sinkhorn", m, None, g, out, *ctx.rest)
        return out, None, None


class Gather(torch.autograd.Function):
    """The sub-layer's input: streams h [..., 4, D] weighted by w [..., 4]."""

    @staticmethod
    def forward(ctx, h, w):
        h, w = flat(h, w)
        ctx.save_for_backward(h, w)
        out = h.new_empty(*h.shape[:-2], h.shape[-1])
        call("gather", h, w, out, size(h, 2), ctypes.c_long(h.shape[-1]))
        return out

    @staticmethod
    def backward(ctx, grad):
        (h, w), (g,) = ctx.saved_tensors, flat(grad)
        gh, gw = torch.empty_like(h), torch.empty_like(w)
        call("gather_back", g, h, w, gh, gw, size(h, 2), ctypes.c_long(h.shape[-1]))
        return gh, gw


class Scatter(torch.autograd.Function):
    """The streams after a sub-layer's output y [..., D]."""

    @staticmethod
    def forward(ctx, y, h, post, comb):
        saved = flat(y, h, post, comb)
        ctx.save_for_backward(*saved)
        out = torch.empty_like(saved[1])
        call("scatter", *saved, out, size(h, 2), ctypes.c_long(h.shape[-1]))
        return out

    @staticmethod
    def backward(ctx, grad):
        saved, (g,) = ctx.saved_tensors, flat(grad)
        out = [torch.empty_like(t) for t in saved]
        call("scatter_back", g, *saved, *out, size(saved[1], 2), ctypes.c_long(saved[1].shape[-1]))
        return tuple(out)


class InvRms(torch.autograd.Function):
    """x [..., D] -> 1 / rms(x) [...]."""

    @staticmethod
    def forward(ctx, x, eps):
        (x,) = flat(x)
        r = x.new_empty(x.shape[:-1])
        call("inv_rms", x, r, size(x, 1), ctypes.c_long(x.shape[-1]), ctypes.c_float(eps))
        ctx.save_for_backward(x, r)
        return r

    @staticmethod
    def backward(ctx, grad):
        (x, r), (g,) = ctx.saved_tensors, flat(grad)
        out = torch.empty_like(x)
        call("inv_rms_back", g, x, r, out, size(x, 1), ctypes.c_long(x.shape[-1]))
        return out, None


class RmsNorm(torch.autograd.Function):
    """weight * x / rms(x); the weight may be None."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        x, *w = flat(x, *([] if weight is None else [weight]))
        y, r = torch.empty_like(x), x.new_empty(x.shape[:-1])
        call("norm", x, w[0] if w else None, y, r, size(x, 1), ctypes.c_long(x.shape[-1]), ctypes.c_float(eps))
        ctx.save_for_backward(x, r, *w)
        return y

    @staticmethod
    def backward(ctx, grad):
        (x, r, *w), (g,) = ctx.saved_tensors, flat(grad)
        gx, gw = torch.empty_like(x), torch.zeros_like(w[0]) if w else None
        call("norm_back", g, x, w[0] if w else None, r, gx, gw, size(x, 1), ctypes.c_long(x.shape[-1]))
        return gx, gw, None


class Turn(torch.autograd.Function):
    """RoPE of x [B, S, (heads,) D] by cos, sin [B, S, R]; sign -1 turns back."""

    @staticmethod
    def forward(ctx, x, cos, sin, sign):
        (x,) = flat(x)
        ctx.save_for_backward(cos, sin)
        ctx.sign = sign
        return Turn.apply_to(x, cos, sin, sign)

    @staticmethod
    def apply_to(x, cos, sin, sign):
        out, pairs = torch.empty_like(x), cos.shape[-1]
        tokens = cos.numel() // pairs
        call("turn", x, cos, sin, out, ctypes.c_long(tokens), ctypes.c_long(x.numel() // tokens // x.shape[-1]),
             ctypes.c_long(x.shape[-1]), ctypes.c_long(pairs), ctypes.c_float(sign))
        return out

    @staticmethod
    def backward(ctx, grad):
        return Turn.apply_to(*flat(grad), *ctx.saved_tensors, -ctx.sign), None, None, None


class Soft(torch.autograd.Function):
    """bf16 logits a [Q.., heads, A], b [Q.., heads, B], sinks [heads] -> exponentials and denominator.

    see_a [Q.., A] and see_b [Q.., B] say who is seen; b and see_b may have B = 0.
    """

    @staticmethod
    def forward(ctx, a, b, sink, see_a, see_b):
        a, b = a.detach().contiguous(), b.detach().contiguous()
        pa, pb = torch.empty_like(a), torch.empty_like(b)
        den = torch.empty(a.shape[:-1])
        share = torch.empty_like(den)
        n = [ctypes.c_long(v) for v in (den.numel() // den.shape[-1], den.shape[-1], a.shape[-1], b.shape[-1])]
        call("soft", a, b, see_a.contiguous(), see_b.contiguous(), *flat(sink), pa, pb, den, share, *n)
        ctx.save_for_backward(pa, pb, share)
        return pa, pb, den

    @staticmethod
    def backward(ctx, ga, gb, gden):
        pa, pb, share = ctx.saved_tensors
        out = []
        (gden,) = flat(gden)
        for p, g in ((pa, ga), (pb, gb)):
            out.append(torch.empty_like(p))
            if p.numel():
                call("soft_back", p, g.to(torch.bfloat16).contiguous(), gden, out[-1], ctypes.c_long(gden.numel()),
                     ctypes.c_long(p.shape[-1]))
        gsink = (gden * share).flatten(0, -2).sum(0)
        return *out, gsink, None, None
