"""The whole model (spec 2.2) and its MTP block (spec 3.1); reads like the paper.

embedding -> 4 equal streams -> layers of (mHC around attention, mHC around MoE) -> one stream
-> norm -> head.  Module and parameter names are those of the official checkpoint, so that
export.py needs no table of names.
"""
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention
from .config import Config
from .hyper import Hyper, HyperHead
from .layers import Norm, Weight
from .moe import Moe
from .numerics import Numerics
from .rows import Batch

LOSS_CHUNK = 4096  # tokens whose logits exist at the same time
ANSWER_SHARE = 0.35  # of tokens, about
SAMPLED = 512  # tokens of a sampled softmax, beside those of the batch
MTP_WEIGHT = 0.1
INDEX_WEIGHT = 1.0


class Block(nn.Module):
    """One layer."""

    def __init__(self, c: Config, ratio: int, hashed: bool):
        super().__init__()
        self.attn_norm, self.ffn_norm = (Norm(c.hidden_size, c.rms_norm_eps) for _ in range(2))
        self.attn, self.ffn = Attention(c, ratio), Moe(c, hashed)
        self.hc_attn, self.hc_ffn = Hyper(c), Hyper(c)

    def forward(self, h: Tensor, ids: Tensor, b: Batch, num: Numerics, select: bool):
        """Streams [B, S, 4, D] -> streams, index loss, expert load."""
        x, post, comb = self.hc_attn.pre(h, num)
        y, index = self.attn(self.attn_norm(x, num), b, num, select)
        h = self.hc_attn.post(y, h, post, comb, num)
        x, post, comb = self.hc_ffn.pre(h, num)
        y, load = self.ffn(self.ffn_norm(x, num), ids, num)
        return self.hc_ffn.post(y, h, post, comb, num), index, load


class Mtp(Block):
    """Predicts the token after the next one from the last streams and the next token."""

    def __init__(self, c: Config):
        super().__init__(c, 0, False)
        self.e_proj = Weight("fp8", c.hidden_size, c.hidden_size)
        self.h_proj = Weight("fp8", c.hidden_size, c.hidden_size)
        self.enorm, self.hnorm, self.norm = (Norm(c.hidden_size, c.rms_norm_eps) for _ in range(3))
        self.hc_head = HyperHead(c)

    def join(self, embedded: Tensor, h: Tensor, num: Numerics) -> Tensor:
        e = self.e_proj(self.enorm(embedded, num), num)
        return num.r(e[..., None, :] + self.h_proj(self.hnorm(h, num), num))


@dataclass
class Result:
    """Of one forward pass; losses are sums weighted by Batch.weight over a usual sum of weights."""
    loss: Tensor
    main: float
    mtp: float
    index: float
    loads: list[Tensor]  # per layer, the MTP block last


class Model(nn.Module):
    """Give it a Batch; loss() to train, logits() to look."""

    def __init__(self, c: Config):
        super().__init__()
        self.c, self.save_memory = c, False
        self.embed = Weight("bf16", c.vocab_size, c.hidden_size, std=1.0)
        self.layers = nn.ModuleList(Block(c, r, i < c.num_hash_layers)
                                    for i, r in enumerate(c.compress_ratios[:-1]))
        self.hc_head, self.norm = HyperHead(c), Norm(c.hidden_size, c.rms_norm_eps)
        self.head = Weight("f32_out", c.vocab_size, c.hidden_size)
        self.mtp = nn.ModuleList([Mtp(c)])

    def run(self, block, *args):
        if self.save_memory and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)

    def streams(self, b: Batch, num: Numerics, select: bool):
        """The four streams after the last layer, index losses, loads."""
        h = nn.functional.embedding(b.ids, self.embed.on(num))
        h = h[..., None, :].expand(-1, -1, self.c.hc_mult, -1)
        index, loads = h.new_zeros(()), []
        for block in self.layers:
            h, loss, load = self.run(block, h, b.ids, b, num, select)
            index = index + loss
            loads.append(load)
        return h, index, loads

    def draft(self, h: Tensor, b: Batch, num: Numerics):
        """MTP: streams of position t and token t + 1 -> features for token t + 2; load."""
        ids = torch.cat((b.ids[:, 1:], b.ids[:, :1]), 1)
        m = self.mtp[0]
        x = m.join(nn.functional.embedding(ids, self.embed.on(num)), h, num)
        x, _, load = self.run(m, x, ids, b, num, False)
        return m.norm(m.hc_head(x, num), num), load

    def logits(self, b: Batch, num: Numerics, select: bool = True, draft: bool = False):
        """[B, S, V] of the next token and, if asked, of the one after it."""
        h, _, _ = self.streams(b, num, select)
        main = self.head(self.norm(self.hc_head(h, num), num), num)
        return (main, self.head(self.draft(h, b, num)[0], num)) if draft else main

    def few(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's own tokens and SAMPLED others; what to add to logits; where a token stands.

        A softmax over those alone costs a tenth; the others' logits are raised by the logarithm of how many
        tokens each stands for, so that the sum is right on average.
        """
        size = self.c.vocab_size
        mine = torch.zeros(size, dtype=torch.bool, device=ids.device).index_fill(0, ids.flatten(), True)
        rest = (~mine).nonzero()[:, 0]
        rest = rest[torch.randint(len(rest), (SAMPLED,), device=ids.device)]
        chosen = torch.cat((mine.nonzero()[:, 0], rest))
        shift = torch.zeros(len(chosen), device=ids.device)
        shift[-SAMPLED:] = math.log((size - int(mine.sum())) / SAMPLED)
        place = mine.cumsum(0) - 1
        return chosen, shift, place

    def token_loss(self, x: Tensor, target: Tensor, weight: Tensor, num: Numerics, few=None) -> Tensor:
        """Weighted sum of cross entropies; in chunks, that keep no logits with save_memory."""
        def part(x, target, weight):
            if few is None:
                z = self.head(x, num)
            else:
                z = nn.functional.linear(x, num.weight(self.head.weight, "bf16")[few[0]]).float() + few[1]
                target = few[2][target]
            return (nn.functional.cross_entropy(z, target, reduction="none") * weight).sum()
        keep = weight > 0
        x, target, weight = x[keep], target[keep], weight[keep]
        total = x.new_zeros((), dtype=torch.float32)
        for a in range(0, len(x), LOSS_CHUNK):
            cut = slice(a, a + LOSS_CHUNK)
            total = total + self.run(part, x[cut], target[cut], weight[cut])
        return total

    def loss(self, b: Batch, num: Numerics, select: bool, mtp_weight: float = MTP_WEIGHT) -> Result:
        """Next-token loss + 0.1 MTP (none at weight 0) + the indexer's KL."""
        h, index, loads = self.streams(b, num, select)
        x = self.norm(self.hc_head(h, num), num)

        def ahead(n: int):
            """Tokens n ahead and their weights, zero across a document's end."""
            same = b.doc[:, n:] == b.doc[:, :-n]
            return b.ids[:, n:], b.weight[:, n:] * (same & (b.doc[:, n:] >= 0))
        ids1, w1 = ahead(1)
        ids2, w2 = ahead(2)
        share = ANSWER_SHARE * b.ids.numel()  # the same for all batches: a row of prose weighs little
        few = self.few(b.ids) if num.mode == "float" and b.ids.numel() <= LOSS_CHUNK else None
        main = self.token_loss(x[:, :-1], ids1, w1, num, few) / share
        mtp, load = main.new_zeros(()), torch.zeros_like(loads[0])
        if mtp_weight:
            y, load = self.draft(h, b, num)
            mtp = self.token_loss(y[:, :-2], ids2, w2, num, few) / share
        total = main + mtp_weight * mtp + INDEX_WEIGHT * index
        return Result(total, main.item(), mtp.item(), index.item(), loads + [load])

    def gates(self) -> list:
        return [b.ffn.gate for b in [*self.layers, *self.mtp]]
