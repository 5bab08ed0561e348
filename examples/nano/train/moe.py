"""Router and experts (spec 2.8 and 2.9)."""
import torch
from torch import Tensor, nn

from .config import Config
from .layers import Weight
from .numerics import Numerics


def swiglu(g: Tensor, u: Tensor, limit: float) -> Tensor:
    """silu(g) * u with the clamps of spec 2.9: g from above, u from both sides."""
    return nn.functional.silu(g.clamp(max=limit)) * u.clamp(-limit, limit)


def hash_table(counts: Tensor, experts: int, active: int) -> Tensor:
    """tid2eid [V, K]: tokens in falling frequency, each to the K least loaded experts."""
    load = [0.0] * experts
    table = torch.zeros(len(counts), active, dtype=torch.int64)
    for token in torch.argsort(-counts, stable=True).tolist():
        least = sorted(range(experts), key=lambda e: (load[e], (e * 7 + token) % experts))[:active]
        table[token] = torch.tensor(least)
        for e in least:
            load[e] += float(counts[token]) + 1e-3
    return table


class Shared(nn.Module):
    """The expert that every token uses; fp8."""

    def __init__(self, c: Config):
        super().__init__()
        self.limit = c.swiglu_limit
        self.w1 = Weight("fp8", c.moe_intermediate_size, c.hidden_size)
        self.w2 = Weight("fp8", c.hidden_size, c.moe_intermediate_size)
        self.w3 = Weight("fp8", c.moe_intermediate_size, c.hidden_size)

    def forward(self, x: Tensor, num: Numerics) -> Tensor:
        return self.w2(num.r(swiglu(self.w1(x, num), self.w3(x, num), self.limit)), num)


class Gate(nn.Module):
    """Chooses K experts per token: by token id in the first layers, else by score + bias."""

    def __init__(self, c: Config, hashed: bool):
        super().__init__()
        self.hashed, self.active, self.scale = hashed, c.num_experts_per_tok, c.routed_scaling_factor
        self.kind = "f32_out"
        self.weight = nn.Parameter(torch.randn(c.n_routed_experts, c.hidden_size) * c.hidden_size ** -0.5)
        if hashed:
            counts = torch.ones(c.vocab_size)
            self.register_buffer("tid2eid", hash_table(counts, c.n_routed_experts, self.active))
        else:
            self.register_buffer("bias", torch.zeros(c.n_routed_experts))

    def forward(self, x: Tensor, ids: Tensor, num: Numerics) -> tuple[Tensor, Tensor]:
        """x [T, D] -> experts [T, K] and their weights."""
        with torch.autocast(x.device.type, enabled=False):
            logits = nn.functional.linear(x.float(), num.weight(self.weight, "bf16"))
            s = torch.sqrt(nn.functional.softplus(logits))
        chosen = self.tid2eid[ids] if self.hashed else (s + self.bias).topk(self.active, -1).indices
        w = s.gather(1, chosen)
        return chosen, w / w.sum(1, keepdim=True) * self.scale

    @torch.no_grad()
    def balance(self, load: Tensor, speed: float) -> None:
        """Pushes the bias of an overloaded expert down, of an idle one up (V3, 2.1.2)."""
        if not self.hashed:
            self.bias += speed * torch.sign(load.float().mean() - load.float())


class Moe(nn.Module):
    """Routed experts in fp4, grouped by expert, and the shared one."""

    def __init__(self, c: Config, hashed: bool):
        super().__init__()
        e, i, d = c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        self.limit, self.count = c.swiglu_limit, e
        self.gate = Gate(c, hashed)
        self.w1, self.w3 = Weight("fp4", e, i, d), Weight("fp4", e, i, d)
        self.w2 = Weight("fp4", e, d, i, std=0.5 * i ** -0.5)
        self.shared_experts = Shared(c)

    def forward(self, x: Tensor, ids: Tensor, num: Numerics) -> tuple[Tensor, Tensor]:
        """x [B, S, D] -> the same shape, and how many tokens each expert got [E]."""
        flat = x.flatten(0, 1)
        chosen, weight = self.gate(flat, ids.flatten(), num)
        order = chosen.flatten().argsort(stable=True)
        token = order // chosen.shape[1]
        counts = torch.bincount(chosen.flatten(), minlength=self.count)
        inputs = num.act(flat)[token].split(counts.tolist())
        omega = weight.flatten()[order][:, None].split(counts.tolist())
        w1, w2, w3 = self.w1.on(num), self.w2.on(num), self.w3.on(num)
        out = []
        for e, (a, w) in enumerate(zip(inputs, omega)):
            g = num.r(nn.functional.linear(a, w1[e]).float())
            u = num.r(nn.functional.linear(a, w3[e]).float())
            hidden = num.act(num.r(w * swiglu(g, u, self.limit)))
            out.append(num.r(nn.functional.linear(hidden, w2[e]).float()))
        y = torch.zeros_like(flat, dtype=torch.float32).index_add(0, token, torch.cat(out).float())
        return num.r(y.view(x.shape) + self.shared_experts(x, num)), counts
