"""mHC: four residual streams with doubly stochastic mixing (spec 2.3)."""
import torch
from torch import Tensor, nn

from . import fused
from .config import Config
from .numerics import Numerics

STREAMS_IN = -1.0986  # sigma of it is 1/4: at first a block reads the mean of four streams


def mixes(h: Tensor, fn: Tensor, eps: float) -> Tensor:
    """(fn . f) * rsqrt(mean f^2 + eps), f being the streams side by side; float32."""
    f = h.flatten(-2).float()
    if fused.usable(f):
        return nn.functional.linear(f, fn) * fused.InvRms.apply(f, eps)[..., None]
    return nn.functional.linear(f, fn) * torch.rsqrt(f.square().mean(-1, keepdim=True) + eps)


def sinkhorn(m: Tensor, iters: int, eps: float) -> Tensor:
    """Rows by softmax, then columns and rows in turn; the last step is columns."""
    m = torch.softmax(m, -1) + eps
    m = m / (m.sum(-2, keepdim=True) + eps)
    for _ in range(iters - 1):
        m = m / (m.sum(-1, keepdim=True) + eps)
        m = m / (m.sum(-2, keepdim=True) + eps)
    return m


class Hyper(nn.Module):
    """The pre, post and comb maps around one sub-layer; exported as hc_TAG_{fn,base,scale}."""

    def __init__(self, c: Config):
        super().__init__()
        n = c.hc_mult
        self.n, self.iters, self.eps, self.norm_eps = n, c.hc_sinkhorn_iters, c.hc_eps, c.rms_norm_eps
        self.fn = nn.Parameter(torch.randn((2 + n) * n, n * c.hidden_size) * 0.02)
        self.base = nn.Parameter(torch.cat((torch.full((n,), STREAMS_IN), torch.zeros(n),
                                            (4 * torch.eye(n)).flatten())))
        self.scale = nn.Parameter(torch.full((3,), 0.1))

    def pre(self, h: Tensor, num: Numerics) -> tuple[Tensor, Tensor, Tensor]:
        """h [..., n, D] -> the sub-layer's input [..., D], post [..., n], comb [..., n, n]."""
        n = self.n
        with torch.autocast(h.device.type, enabled=False):
            m = mixes(h, self.fn, self.norm_eps)
            a, b = self.scale, self.base
            pre = torch.sigmoid(m[..., :n] * a[0] + b[:n]) + self.eps
            post = 2 * torch.sigmoid(m[..., n:2 * n] * a[1] + b[n:2 * n])
            comb = (m[..., 2 * n:] * a[2] + b[2 * n:]).unflatten(-1, (n, n))
            if fused.usable(h):
                return num.r(fused.Gather.apply(h, pre)), post, fused.Sinkhorn.apply(comb, self.iters, self.eps)
            y = (pre[..., None] * h).sum(-2)
            return num.r(y), post, sinkhorn(comb, self.iters, self.eps)

    def post(self, y: Tensor, h: Tensor, post: Tensor, comb: Tensor, num: Numerics) -> Tensor:
        """Streams after the sub-layer; the row of comb is the source, the column its target."""
        with torch.autocast(h.device.type, enabled=False):
            if fused.usable(h):
                return num.r(fused.Scatter.apply(y.float(), h, post, comb))
            return num.r(post[..., None] * y[..., None, :].float() + comb.transpose(-1, -2) @ h)


class HyperHead(nn.Module):
    """Four streams to one, before the last norm; exported as hc_head_{fn,base,scale}."""

    def __init__(self, c: Config):
        super().__init__()
        self.eps, self.norm_eps = c.hc_eps, c.rms_norm_eps
        self.fn = nn.Parameter(torch.randn(c.hc_mult, c.hc_mult * c.hidden_size) * 0.02)
        self.base = nn.Parameter(torch.full((c.hc_mult,), STREAMS_IN))
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, h: Tensor, num: Numerics) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            z = mixes(h, self.fn, self.norm_eps) * self.scale + self.base
            return num.r(((torch.sigmoid(z) + self.eps)[..., None] * h).sum(-2))
