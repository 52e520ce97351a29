"""The layers of T5: an encoder, and a decoder that goes on by one token at many nodes of a tree.

Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer,
JMLR 2020; attention without a scale, relative positions in buckets, root mean square norms, no
biases. Shapes: N sequences, T tokens, D = dim, H heads of width Z, n nodes of a sequence.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.models.layers import Dropout

BUCKETS, FARTHEST = 32, 128  # of relative positions
EPS = 1e-6


class Shape(NamedTuple):
    """Sizes of a stack of layers: D, number of layers, H, Z, width of the feed-forward layer."""

    dim: int
    depth: int
    heads: int
    width: int
    inner: int
    dropout: float


class Memory(NamedTuple):
    """What a decoder reads of N encoded sequences.

    pairs: for each layer, keys and values, float [2, N, H, T, Z].  bias: float [N, 1, 1, T], -inf
    where there is no token.
    """

    pairs: list[Tensor]
    bias: Tensor


class Encoder(nn.Module):
    """Self-attention in both directions over embedded tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.positions = nn.Embedding(BUCKETS, shape.heads)
        self.layers = stacked(shape, reads=False)
        self.norm = nn.RMSNorm(shape.dim, EPS)
        self.dropout = Dropout(shape.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Float [N, T, D], the first ``lengths``, int64 [N], of each -> float [N, T, D]."""
        at = torch.arange(x.shape[1], device=x.device)
        near = self.positions(bucket(at[None] - at[:, None], both=True)).permute(2, 0, 1)
        bias = near[None] + beyond(lengths, x.shape[1])
        x = self.dropout(x)
        for layer in self.layers:
            y = layer.own_norm(x)
            pair = layer.own.pair(y)
            x = x + layer.dropout(layer.own(y, pair, bias))
            x = layer.forwarded(x)
        return self.dropout(self.norm(x))


class Decoder(nn.Module):
    """Goes on by one token at each of n nodes, which look at their own ancestors and the memory."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.positions = nn.Embedding(BUCKETS, shape.heads)
        self.layers = stacked(shape, reads=True)
        self.norm = nn.RMSNorm(shape.dim, EPS)
        self.dropout = Dropout(shape.dropout)

    def memory(self, states: Tensor, lengths: Tensor) -> Memory:
        """Keys and values of encoded tokens, float [N, T, D], of each the first ``lengths``."""
        pairs = [layer.read.pair(states) for layer in self.layers]
        return Memory(pairs, beyond(lengths, states.shape[1]))

    def forward(
        self, x: Tensor, past: list[Tensor] | None, memory: Memory
    ) -> tuple[Tensor, list[Tensor]]:
        """Embedded tokens, float [N, n, D], and what is behind them -> states [N, n, D], and both.

        ``past``: of each layer, keys and values of the l ancestors, float [2, N, n, l, H, Z].
        """
        new, x = [], self.dropout(x)
        for number, layer in enumerate(self.layers):
            y = layer.own_norm(x)
            own = torch.stack([layer.own.key(y), layer.own.value(y)])
            own = own.unflatten(3, (layer.own.number, -1))[:, :, :, None]
            seen = own if past is None else torch.cat([past[number], own], dim=3)
            new.append(seen)
            x = x + layer.dropout(layer.own.output(self._of_ancestors(layer, y, seen)))
            x = x + layer.dropout(layer.read(layer.read_norm(x), memory.pairs[number], memory.bias))
            x = layer.forwarded(x)
        return self.dropout(self.norm(x)), new

    def _of_ancestors(self, layer: "Layer", y: Tensor, seen: Tensor) -> Tensor:
        """What each node takes from its ancestors and itself: float [N, n, H Z]."""
        query = layer.own.query(y).unflatten(2, (layer.own.number, -1))  # [N, n, H, Z]
        steps = torch.arange(seen.shape[3] - 1, -1, -1, device=y.device)
        near = self.positions(bucket(-steps, both=False)).T  # [H, l + 1]
        weights = torch.einsum("anhz,anlhz->anhl", query, seen[0]) + near
        weights = layer.dropout(weights.softmax(dim=3))
        return torch.einsum("anhl,anlhz->anhz", weights, seen[1]).flatten(2)


class Layer(nn.Module):
    """Attention to its own tokens, perhaps to a memory (``reads``), and a feed-forward layer."""

    def __init__(self, shape: Shape, *, reads: bool) -> None:
        super().__init__()
        self.own_norm, self.own = nn.RMSNorm(shape.dim, EPS), Attention(shape)
        if reads:
            self.read_norm, self.read = nn.RMSNorm(shape.dim, EPS), Attention(shape)
        self.norm = nn.RMSNorm(shape.dim, EPS)
        self.expand = nn.Linear(shape.dim, shape.inner, bias=False)
        self.contract = nn.Linear(shape.inner, shape.dim, bias=False)
        self.dropout = Dropout(shape.dropout)

    def forwarded(self, x: Tensor) -> Tensor:
        """Float [..., D] and what the feed-forward layer adds."""
        inner = self.dropout(F.relu(self.expand(self.norm(x))))
        return x + self.dropout(self.contract(inner))


class Attention(nn.Module):
    """Maps of a multi-head attention without biases and scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner = shape.heads * shape.width
        self.number, self.dropped = shape.heads, shape.dropout
        self.query = nn.Linear(shape.dim, inner, bias=False)
        self.key = nn.Linear(shape.dim, inner, bias=False)
        self.value = nn.Linear(shape.dim, inner, bias=False)
        self.output = nn.Linear(inner, shape.dim, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        """Float [N, T, H Z] -> [N, H, T, Z]."""
        return x.unflatten(2, (self.number, -1)).transpose(1, 2)

    def pair(self, x: Tensor) -> Tensor:
        """Keys and values of tokens, float [N, T, D] -> [2, N, H, T, Z]."""
        return torch.stack([self.heads(self.key(x)), self.heads(self.value(x))])

    def forward(self, asking: Tensor, pair: Tensor, bias: Tensor) -> Tensor:
        """What float [N, Q, D] take of keys and values, [2, N, H, T, Z]: float [N, Q, D]."""
        query = self.heads(self.query(asking))
        shape = (len(query), self.number, query.shape[2], pair.shape[3])
        dropped = self.dropped if self.training else 0.0
        attended = F.scaled_dot_product_attention(
            query, pair[0], pair[1], bias.expand(shape), dropout_p=dropped, scale=1.0
        )
        return self.output(attended.transpose(1, 2).flatten(2))


def stacked(shape: Shape, *, reads: bool) -> Sequence[Layer]:
    """``depth`` layers; ``nn.ModuleList``, by which their type stays known."""
    layers = nn.ModuleList(Layer(shape, reads=reads) for _ in range(shape.depth))
    return layers  # type: ignore[return-value]


def beyond(lengths: Tensor, number: int) -> Tensor:
    """0 for the first ``lengths`` of ``number`` tokens, -inf for the others: [N, 1, 1, T]."""
    mask = torch.arange(number, device=lengths.device) >= lengths[:, None]
    zero = torch.zeros(mask.shape, device=lengths.device)
    return zero.masked_fill(mask, -torch.inf)[:, None, None]


def bucket(offset: Tensor, *, both: bool) -> Tensor:
    """The bucket of a relative position, key minus query: single ones if near, else by logarithm.

    ``both``: keys may come later as well; else later ones count as near.
    """
    number = BUCKETS // 2 if both else BUCKETS
    first = (offset > 0).long() * number if both else torch.zeros_like(offset)
    distance = offset.abs() if both else (-offset).clamp(min=0)
    exact = number // 2
    far = torch.log(distance.clamp(min=1) / exact) / math.log(FARTHEST / exact)
    coarse = (exact + (far * (number - exact)).long()).clamp(max=number - 1)
    return first + torch.where(distance < exact, distance, coarse)


@torch.no_grad()
def initialise(module: nn.Module, shape: Shape) -> None:
    """Draw weights as T5 does, whose attention has no scale."""
    for each in module.modules():
        if isinstance(each, Attention):
            for layer in (each.key, each.value):
                nn.init.normal_(layer.weight, std=shape.dim**-0.5)
            nn.init.normal_(each.query.weight, std=(shape.dim * shape.width) ** -0.5)
            nn.init.normal_(each.output.weight, std=(shape.heads * shape.width) ** -0.5)
        elif isinstance(each, Layer):
            nn.init.normal_(each.expand.weight, std=shape.dim**-0.5)
            nn.init.normal_(each.contract.weight, std=shape.inner**-0.5)
        elif isinstance(each, Encoder | Decoder):
            nn.init.normal_(each.positions.weight, std=shape.dim**-0.5)
