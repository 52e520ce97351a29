"""FMLP: an all-MLP model with learnable filters, the causal counterpart of FMLP-Rec.

Zhou, Yu, Zhao and Wen, WWW 2022, arXiv:2202.13556. Shapes: B sequences, L places, D = dim,
V = num_items, M queries.
"""

from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.items.base import Items, modules_beside_items
from lightning_rec.models.items.ids import Ids
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.ranges import BelowOne, Layers


class FMLP(InnerProduct):
    """Blocks of a filter over time and a feed-forward layer; no attention.

    The paper multiplies the spectrum of the window by learnt weights, which is a circular
    convolution (section 3.3): each place sees the whole window, those after it too, and the paper
    therefore learns from the last place alone. Here the filter is a causal convolution as long as
    the window. It is still made by multiplying spectra, those of sequence and filter with as many
    zeros after them, and every place can be learnt from.

    Args:
        schema: number of items, codes of padding and mask, longest sequence.
        dim: width of item vectors and hidden states.
        depth: number of blocks.
        feedforward: width of the feed-forward layer as a multiple of ``dim`` (4 in the paper).
        dropout: after the embeddings, the filters and the feed-forward layers.
        items: makes the item encoder.
    """

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema)
        self.item = items(schema, dim)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(dim, schema.max_len, dim * feedforward, dropout) for _ in range(depth)
        )
        self._initialise()

    def _initialise(self) -> None:
        self.item.initialise(partial(nn.init.normal_, std=0.02))
        for module in modules_beside_items(self):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; places are counted from the oldest item of the window."""
        places = torch.arange(histories.items.shape[1], device=histories.items.device)
        hidden_BLD = self.norm(self.item(histories.items) + self.position(places))
        hidden_BLD = self.dropout(hidden_BLD)
        for block in self.blocks[:-1]:
            hidden_BLD = block(hidden_BLD)
        queries: Tensor = self.blocks[-1](hidden_BLD, positions)
        return queries

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item table is the output layer too; there is no bias."""
        return ItemVectors(self.item.table() if items is None else self.item(items), None)


class Block(nn.Module):
    """Filter, then feed-forward, each with dropout, residual and LayerNorm (section 3.1)."""

    def __init__(self, dim: int, max_len: int, inner: int, dropout: float) -> None:
        super().__init__()
        # Row k weighs what stood k places before.
        self.filter = nn.Parameter(torch.empty(max_len, dim).normal_(std=0.02))
        self.filter_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, positions: Tensor | None = None) -> Tensor:
        """Float [B, L, D] -> the same; or, gathered at positions, float [M, D]."""
        filtered = convolve(hidden_BLD, self.filter)
        if positions is not None:
            hidden_BLD, filtered = gather(hidden_BLD, positions), gather(filtered, positions)
        hidden = self.filter_norm(hidden_BLD + self.dropout(filtered))
        inner = self.contract(F.gelu(self.expand(hidden)))  # the paper has ReLU, its code GELU
        fed: Tensor = self.norm(hidden + self.dropout(inner))
        return fed


def convolve(x_BLD: Tensor, weight: Tensor) -> Tensor:
    """Causal convolution of each channel: y[t] = sum over k of weight[k] * x[t - k].

    Args:
        x_BLD: float [B, L, D].
        weight: float [at least L, D].

    Returns:
        float [B, L, D].
    """
    length = x_BLD.shape[1]
    double = 2 * length  # with fewer zeros the end of the window would come round to its start
    spectrum = torch.fft.rfft(x_BLD.float(), n=double, dim=1)  # half precision has no transform
    filters = torch.fft.rfft(weight[:length].float(), n=double, dim=0)
    filtered: Tensor = torch.fft.irfft(spectrum * filters, n=double, dim=1)
    return filtered[:, :length].to(x_BLD.dtype)
