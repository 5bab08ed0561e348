"""Where training begins: weights that can already look things up in their context.

To find induction (after "a b ... a" comes "b") from noise takes a model some ten million tokens, more than a
CPU has time for.  Here it is built in, and training only has to use and to sharpen it.

The residual stream is split into orthogonal parts: a channel that is the same for all tokens, one that tells how
rare a token is, the space P (64 channels) that tells what stands at a position and before it, and the
space Q (62) in which the head reads.
Layer 0: head h looks h + 1 tokens back and adds what it sees, turned h + 1 times by S, to P.  A position's
context in P is then  e(t) + S e(t-1) + S^2 e(t-2) + ...
Later layers: keys, compressed rows too, are the contexts; half of the heads ask for S times their own
context, which is that of the position after the same words, and the other half for their own context; what
they find is copied to Q.  The head of a token is its embedding moved from P to Q.  Compressors weigh tokens
by their rarity, and the indexer compares contexts as attention does.
"""
import torch
from torch import Tensor

SHARED = 4.0   # of an embedding's first channel
RARE = 4.0     # of the second channel, for the rarest tokens; the other channels are normal
GATE = 1.5     # of compressors, per RARE channel
PAIRS = 4      # the fastest pairs of RoPE, by which layer 0 looks back
BACK = 1.3     # strength of what layer 0 adds
COPY = (1.0, 0.1)  # of what later layers copy: heads that ask for the next context, for the same one
SHARP = 2.0    # weight of the norms of keys
QUIET = 0.2    # of the usual size: the outputs of experts


def orthogonal(n: int) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n))[0]


def look_back(attn, p: Tensor, turn: Tensor) -> None:
    """Layer 0.  The fast pairs of RoPE turn a key that is the same for all tokens, and a query that is
    turned back by the distance wanted; their product is highest there."""
    c, nope = attn.c, attn.c.head_dim - attn.c.qk_rope_head_dim
    attn.wkv.weight.zero_()
    attn.wkv.weight[:nope] = p
    attn.wkv.weight[nope:nope + 2 * PAIRS:2, 0] = 6 / SHARED
    shared = attn.wq_a.weight[:, 0] / attn.wq_a.weight[:, 0].norm()
    heads = attn.wq_b.weight.unflatten(0, (c.num_attention_heads, c.head_dim))
    heads *= 0.1
    power = torch.eye(nope)
    for h in range(c.num_attention_heads):
        angle = (h + 1) * attn.freq[:PAIRS]
        heads[h, nope:nope + 2 * PAIRS:2] = angle.cos()[:, None] * shared
        heads[h, nope + 1:nope + 2 * PAIRS:2] = -angle.sin()[:, None] * shared
        power = turn @ power
        outputs(attn, h, BACK * p.T @ power)


def outputs(attn, h: int, to: Tensor) -> None:
    """Head h writes its first channels to the stream by the matrix `to` [D, nope]."""
    c, nope = attn.c, to.shape[1]
    in_group = c.num_attention_heads // c.o_groups
    group, slot = divmod(h, in_group)
    rank = c.o_lora_rank // in_group
    a = attn.wo_a.weight.unflatten(0, (c.o_groups, c.o_lora_rank))[group]
    a[rank * slot:rank * (slot + 1)] = 0
    keep = min(rank, nope)
    a[rank * slot:rank * slot + keep, c.head_dim * slot:c.head_dim * slot + keep] = torch.eye(keep)
    start = c.o_lora_rank * group + rank * slot
    attn.wo_b.weight[:, start:start + rank] = 0
    attn.wo_b.weight[:, start:start + keep] = to[:, :keep]


def look_up(attn, basis: Tensor, p: Tensor, q: Tensor, turn: Tensor) -> None:
    """Later layers: keys are contexts; heads ask for the next or for the same context and copy."""
    c, nope = attn.c, len(p)
    compressors = [attn.compressor] if attn.ratio else []
    if attn.ratio == 4:
        compressors.append(attn.indexer.compressor)
        index_part(attn.indexer, turn)
    for weight in (attn.wkv.weight, *(x.wkv.weight for x in compressors)):
        for half in weight.split(c.head_dim):
            half[:nope] = p
            half[nope:] *= 0.3
    for x in compressors:
        x.wgate.weight[:, 1] = GATE
    for norm in (attn.kv_norm, *([attn.compressor.norm] if attn.ratio else [])):
        norm.weight.fill_(SHARP)
    attn.wq_a.weight.copy_(0.1 * attn.wq_a.weight)
    attn.wq_a.weight[:len(basis)] = basis[:c.q_lora_rank]
    heads = attn.wq_b.weight.unflatten(0, (c.num_attention_heads, c.head_dim))
    heads *= 0.1
    for h in range(c.num_attention_heads):
        heads[h, :nope, :nope] = turn if h % 2 == 0 else torch.eye(nope)
        outputs(attn, h, COPY[h % 2] * q)


def index_part(indexer, turn: Tensor) -> None:
    """The indexer asks what attention asks; its heads count alike."""
    nope = len(turn)
    heads = indexer.wq_b.weight.unflatten(0, (indexer.heads, indexer.width))
    heads *= 0.1
    for h in range(indexer.heads):
        heads[h, :nope, :nope] = turn if h % 2 == 0 else torch.eye(nope)
    indexer.weights_proj.weight *= 0.1
    indexer.weights_proj.weight[:, 0] = 1 / SHARED


def rarity(counts: Tensor) -> Tensor:
    """0 for the most frequent token, 1 for one 3,000 times rarer or never seen."""
    return (torch.log(counts.max() / counts.clamp(min=1)) / 8).clamp(0, 1)


@torch.no_grad()
def circuits(model, counts: Tensor) -> None:
    """counts: how often each token occurs in the training text."""
    c = model.c
    width, nope = c.hidden_size, c.head_dim - c.qk_rope_head_dim
    basis = torch.zeros(width, width)  # rows: P, Q, the two channels
    basis[:-2, 2:], basis[-2, 0], basis[-1, 1] = orthogonal(width - 2), 1, 1
    p, turn = basis[:nope], orthogonal(nope)
    q = torch.zeros(width, nope)
    count = min(nope, width - 2 - nope)
    q[:, :count] = basis[nope:nope + count].T
    model.embed.weight[:, 0] = SHARED
    model.embed.weight[:, 1] = RARE * rarity(counts)
    model.head.weight.copy_(model.embed.weight @ p.T @ q.T * (0.5 * width ** -0.5))
    for block in [*model.layers, *model.mtp]:
        block.ffn.w2.weight *= QUIET
        block.ffn.shared_experts.w2.weight *= QUIET
    look_back(model.layers[0].attn, p, turn)
    for block in model.layers[1:]:
        look_up(block.attn, basis, p, q, turn)
