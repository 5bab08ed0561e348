"""The compressor of CSA and HCA and the indexer of CSA (spec 2.5 and 2.6).

How the indexer learns.  Top-k has no gradient, so the indexer is trained beside the model, as a
student of the attention it serves: the probabilities that all heads of a query gave to
compressed rows are added up and normalised to one distribution, and the softmax of the
index scores is pulled towards it by a KL divergence.  Its inputs are detached: the language
loss never reaches the indexer and the KL never reaches the rest.  A query counts by the share
of attention it gave to compressed rows at all, so that tokens which look at nothing far away
do not drown those that do.  First stage (`select` false): attention sees every visible row
and the KL runs over all of them.  Later: attention sees the top-k only, as at inference, and
the KL runs over those.
"""
import torch
from torch import Tensor, nn

from .config import Config
from .layers import Norm, Weight, rope
from .numerics import Numerics
from .rows import Batch, Rows, visible

CHUNK = 1024  # queries scored at a time when only the selection is wanted


class Compressor(nn.Module):
    """r tokens to one row, channel by channel; ratio 4 overlaps with the block before."""

    def __init__(self, c: Config, ratio: int, width: int, index: bool):
        super().__init__()
        self.ratio, self.width, self.index = ratio, width, index
        self.halves = 2 if ratio == 4 else 1
        self.rope_dim = c.qk_rope_head_dim
        self.ape = nn.Parameter(torch.zeros(ratio, self.halves * width))
        self.wkv = Weight("f32_out", self.halves * width, c.hidden_size)
        self.wgate = Weight("f32_out", self.halves * width, c.hidden_size, std=0.02)
        self.norm = Norm(width, c.rms_norm_eps)

    def blocks(self, x: Tensor, b: Batch, rows: Rows, num: Numerics) -> tuple[Tensor, Tensor]:
        """Candidates of every row: values and gates [B, N, r or 2r, width]."""
        v, g = self.wkv(x, num), self.wgate(x, num) + self.ape[b.pos % self.ratio]
        if self.halves == 1:
            at = rows.start[..., None] + torch.arange(self.ratio, device=x.device)
            at = at.flatten(1)[..., None].expand(-1, -1, self.width)
            return tuple(t.gather(1, at).unflatten(1, (-1, self.ratio)) for t in (v, g))
        v, g = v.unflatten(1, (-1, 4)), g.unflatten(1, (-1, 4))
        before = lambda t: torch.cat((t[:, :1], t[:, :-1]), 1)[..., :self.width]
        no_block = (rows.pos < 4)[..., None, None]  # the first block of a document has none before
        old_g = before(g).masked_fill(no_block, -torch.inf)
        return (torch.cat((before(v), v[..., self.width:]), 2),
                torch.cat((old_g, g[..., self.width:]), 2))

    def forward(self, x: Tensor, b: Batch, rows: Rows, freq: Tensor, num: Numerics) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            v, g = self.blocks(x.float(), b, rows, num)
            y = self.norm(num.r((torch.softmax(g, 2) * v).sum(2)), num)
        y = rope(y, rows.pos, freq, num)
        return num.key(y) if self.index else num.row(y, self.rope_dim)


class Indexer(nn.Module):
    """Scores of (query token, compressed row): sum over heads of relu(q . k) * w."""

    def __init__(self, c: Config):
        super().__init__()
        self.heads, self.width, self.topk = c.index_n_heads, c.index_head_dim, c.index_topk
        self.wq_b = Weight("fp8", self.heads * self.width, c.q_lora_rank)
        self.weights_proj = Weight("bf16", self.heads, c.hidden_size)
        self.compressor = Compressor(c, 4, self.width, index=True)

    def project(self, x: Tensor, qr: Tensor, b: Batch, rows: Rows, freq: Tensor, num: Numerics):
        """Queries [B, S, h, e], keys [B, N, e], head weights [B, S, h]; inputs detached."""
        x, qr = x.detach(), qr.detach()
        q = self.wq_b(qr, num).unflatten(-1, (self.heads, self.width))
        q = num.key(rope(q, b.pos, freq, num))
        k = self.compressor(x, b, rows, freq, num)
        w = num.r(self.weights_proj(x, num) * (self.width * self.heads) ** -0.5)
        return q, k, w

    @staticmethod
    def scores(q: Tensor, k: Tensor, w: Tensor, num: Numerics) -> Tensor:
        """[B, S, N] for shared keys [B, N, e], [B, S, K] for keys of each query [B, S, K, e]."""
        form = "bshe,bne->bshn" if k.dim() == 3 else "bshe,bske->bshk"
        dots = torch.relu(num.r(torch.einsum(form, q, k).float()))
        return num.r(num.r(dots * w[..., None]).sum(2))

    def select(self, q, k, w, b: Batch, rows: Rows, num: Numerics) -> tuple[Tensor, Tensor]:
        """The best rows of each query: indices and which of them are real, both [B, S, K]."""
        size, best, real = min(self.topk, k.shape[1]), [], []
        with torch.no_grad():
            for first in range(0, q.shape[1], CHUNK):
                part = slice(first, first + CHUNK)
                s = self.scores(q[:, part], k, w[:, part], num)
                see = visible(b, rows, first, s.shape[1])
                s = s.masked_fill(~see, -torch.inf)
                if num.mode == "exact":  # scores of 0 are equal; like the oracle, take the first
                    values, indices = (t[..., :size] for t in s.sort(dim=-1, descending=True, stable=True))
                else:
                    values, indices = s.topk(size, -1)
                best.append(indices)
                real.append(values > -torch.inf)
        return torch.cat(best, 1), torch.cat(real, 1)


def index_loss(scores: Tensor, real: Tensor, attention: Tensor) -> Tensor:
    """KL(attention over rows || softmax of index scores), weighted by the attention's mass.

    scores, real, attention: [B, S, K]; attention is the mean over heads, detached.
    """
    mass = attention.sum(-1)
    target = attention / mass.clamp(min=1e-9)[..., None]
    logp = torch.log_softmax(scores.masked_fill(~real, -1e9), -1)
    kl = (target * (target.clamp(min=1e-9).log() - logp)).masked_fill(~real, 0).sum(-1)
    return (kl * mass).sum() / mass.sum().clamp(min=1e-9)
