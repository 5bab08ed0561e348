"""Attention: a 128-token window and compressed rows under one softmax with a sink (2.4 - 2.7)."""
import torch
from torch import Tensor, nn

from . import fused
from .compress import Compressor, Indexer, index_loss
from .config import WINDOW, Config
from .layers import Norm, Weight, frequencies, head_norm, rope
from .numerics import Numerics
from .rows import Batch, rows_of, visible


def window_keys(kv: Tensor, b: Batch) -> tuple[Tensor, Tensor]:
    """For each chunk of 128 queries: 256 keys [B, C, 256, d], mask [B, C, 128, 256]."""
    def pairs(x: Tensor, fill) -> Tensor:
        x = x.unflatten(1, (-1, WINDOW))
        before = torch.cat((torch.full_like(x[:, :1], fill), x[:, :-1]), 1)
        return torch.cat((before, x), 2)
    doc, pos = (t.unflatten(1, (-1, WINDOW)) for t in (b.doc, b.pos))
    i = torch.arange(WINDOW, device=kv.device)[:, None]
    k = torch.arange(2 * WINDOW, device=kv.device)[None]
    near = (k > i) & (k <= i + WINDOW)  # key k is token k - 128 of the chunk
    same = doc[..., None] == pairs(b.doc, -3)[:, :, None]
    close = pos[..., None] - pairs(b.pos, 0)[:, :, None] < WINDOW  # matters where a position jumps
    return pairs(kv, 0), near & same & close


MASKED_ROWS = 1024  # up to so many rows, a mask is faster than a list of rows per query


class Attention(nn.Module):
    """One shared KV head; ratio 0 is SWA, 4 is CSA with the indexer, 128 is HCA."""

    def __init__(self, c: Config, ratio: int):
        super().__init__()
        self.c, self.ratio, width, d = c, ratio, c.hidden_size, c.head_dim
        self.watch = True  # the indexer learns
        heads, groups = c.num_attention_heads, c.o_groups
        self.attn_sink = nn.Parameter(torch.zeros(heads))
        self.wq_a, self.q_norm = Weight("fp8", c.q_lora_rank, width), Norm(c.q_lora_rank, c.rms_norm_eps)
        self.wq_b = Weight("fp8", heads * d, c.q_lora_rank)
        self.wkv, self.kv_norm = Weight("fp8", d, width), Norm(d, c.rms_norm_eps)
        self.wo_a = Weight("fp8", groups * c.o_lora_rank, heads * d // groups)
        self.wo_b = Weight("fp8", width, groups * c.o_lora_rank, std=0.5 * (groups * c.o_lora_rank) ** -0.5)
        if ratio:
            self.compressor = Compressor(c, ratio, d, index=False)
        if ratio == 4:
            self.indexer = Indexer(c)
        self.register_buffer("freq", frequencies(c, ratio > 0), persistent=False)

    def far(self, x, qr, b: Batch, num: Numerics, select: bool):
        """Compressed keys [B, N, d] or, selected, [B, S, K, d]; their mask; index scores."""
        rows = rows_of(b, self.ratio)
        keys = self.compressor(x, b, rows, self.freq, num)
        if self.ratio != 4:
            return keys, visible(b, rows), None
        if not (select or self.watch):
            return keys, visible(b, rows), None
        q, k, w = self.indexer.project(x, qr, b, rows, self.freq, num)
        if not select:
            return keys, visible(b, rows), self.indexer.scores(q, k, w, num) if self.watch else None
        best, real = self.indexer.select(q, k, w, b, rows, num)
        if keys.shape[1] <= MASKED_ROWS:  # the same, by a mask
            chosen = torch.zeros(*best.shape[:2], keys.shape[1], dtype=torch.bool, device=x.device)
            return keys, chosen.scatter(2, best, real), self.indexer.scores(q, k, w, num)
        take = lambda t: torch.stack([t[i][best[i]] for i in range(len(best))])
        return take(keys), real, self.indexer.scores(q, take(k), w, num)

    def mix(self, q: Tensor, kv: Tensor, b: Batch, far, num: Numerics) -> tuple[Tensor, Tensor | None]:
        """Softmax over window and rows; also the heads' mean attention to the rows."""
        q = q.unflatten(1, (-1, WINDOW)) * self.c.head_dim ** -0.5
        keys, near = window_keys(kv, b)
        if fused.usable(q) and torch.is_autocast_enabled("cpu") and (far is None or far[0].dim() == 3):
            return self.mix_fused(q, keys, near, far, num)
        logits = torch.einsum("bcihd,bckd->bcihk", q, keys).float()
        logits = logits.masked_fill(~near[:, :, :, None], -torch.inf)
        shared = far is not None and far[0].dim() == 3
        if far is not None:
            rows = far[0] if shared else far[0].unflatten(1, (-1, WINDOW))
            form = ("bcihd,bnd->bcihn", "bcihn,bnd->bcihd") if shared else \
                   ("bcihd,bcikd->bcihk", "bcihk,bcikd->bcihd")
            more = torch.einsum(form[0], q, rows).float()
            see = far[1].unflatten(1, (-1, WINDOW))[:, :, :, None]
            logits = torch.cat((logits, more.masked_fill(~see, -torch.inf)), -1)
        top = logits.amax(-1, keepdim=True).detach()
        p = torch.exp(logits - top)
        den = p.sum(-1) + torch.exp(self.attn_sink - top[..., 0])
        used = num.r(p)
        out = torch.einsum("bcihk,bckd->bcihd", used[..., :2 * WINDOW], keys).float()
        mass = None
        if far is not None:
            out = out + torch.einsum(form[1], used[..., 2 * WINDOW:], rows).float()
            mass = (p[..., 2 * WINDOW:] / den[..., None]).mean(3).flatten(1, 2).detach()
        return num.r(out / den[..., None]).flatten(1, 2), mass

    def mix_fused(self, q, keys, near, far, num: Numerics) -> tuple[Tensor, Tensor | None]:
        """The rest of mix() in fewer passes over memory; products in bf16."""
        q, keys = q.to(torch.bfloat16), keys.to(torch.bfloat16)
        a = torch.einsum("bcihd,bckd->bcihk", q, keys)
        rows, see = (None, near[..., :0]) if far is None else (far[0].to(torch.bfloat16), far[1])
        b = a[..., :0] if rows is None else torch.einsum("bcihd,bnd->bcihn", q, rows)
        pa, pb, den = fused.Soft.apply(a, b, self.attn_sink, near, see)
        out = torch.einsum("bcihk,bckd->bcihd", pa, keys).float()
        mass = None
        if rows is not None:
            out = out + torch.einsum("bcihn,bnd->bcihd", pb, rows).float()
            if self.watch and self.ratio == 4:
                mass = (pb / den[..., None]).detach().mean(3).flatten(1, 2)
        return num.r(out / den[..., None]).flatten(1, 2), mass

    def forward(self, x: Tensor, b: Batch, num: Numerics, select: bool) -> tuple[Tensor, Tensor]:
        """x [B, S, D] (normed) -> its update, and the indexer's loss (0 without one)."""
        c = self.c
        qr = self.q_norm(self.wq_a(x, num), num)
        q = self.wq_b(qr, num).unflatten(-1, (c.num_attention_heads, c.head_dim))
        q = rope(head_norm(q, c.rms_norm_eps, num), b.pos, self.freq, num)
        kv = rope(self.kv_norm(self.wkv(x, num), num), b.pos, self.freq, num)
        kv = num.row(kv, c.qk_rope_head_dim)
        far = self.far(x, qr, b, num, select) if self.ratio else None
        o, mass = self.mix(q, kv, b, far, num)
        o = rope(o, b.pos, self.freq, num, inverse=True)
        o = o.flatten(2).unflatten(-1, (c.o_groups, -1))
        wo_a = self.wo_a.on(num).unflatten(0, (c.o_groups, c.o_lora_rank))
        z = num.r(torch.einsum("bsgd,grd->bsgr", o, wo_a).float()).flatten(2)
        loss = x.new_zeros(())
        if far is not None and far[2] is not None and torch.is_grad_enabled():
            loss = index_loss(far[2], far[1], mass)
        return self.wo_b(z, num), loss
