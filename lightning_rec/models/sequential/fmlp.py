"""FMLP: an all-MLP model with learnable filters, the causal counterpart of FMLP-Rec.

Zhou, Yu, Zhao and Wen, WWW 2022, arXiv:2202.13556. Shapes: as in :class:`NeuralSequenceModel`.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class FMLP(NeuralSequenceModel):
    """Blocks of a filter over time and a feed-forward layer; no attention.

    The paper multiplies the spectrum of the window by learnt weights, which is a circular
    convolution (section 3.3): each position sees the whole window, those after it too, and the
    paper therefore learns from the last position alone. Here the filter is a causal convolution as
    long as the window. It is still made by multiplying spectra, those of sequence and filter with
    as many zeros after them, and every position can be learnt from.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(dim, schema.max_len, dim * feedforward, dropout) for _ in range(depth)
        )
        self.initialise(NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; positions are counted from the oldest item of the window."""
        index = torch.arange(histories.items.shape[1], device=histories.items.device)
        hidden_BLD = self.norm(self.embedded(histories) + self.position(index))
        hidden_BLD = self.dropout(hidden_BLD)
        for block in self.blocks[:-1]:
            hidden_BLD = block(hidden_BLD)
        return self.blocks[-1](hidden_BLD, positions)


class Block(nn.Module):
    """Filter, then feed-forward, each with dropout, residual and LayerNorm (section 3.1)."""

    def __init__(self, dim: int, max_len: int, inner: int, dropout: float) -> None:
        super().__init__()
        # Row k weighs what is k positions before.
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
        return self.norm(hidden + self.dropout(inner))


def convolve(x_BLD: Tensor, weight: Tensor) -> Tensor:
    """Causal convolution of each channel: y[t] = sum over k of weight[k] * x[t - k].

    ``weight``: float [at least L, D]. Returns float [B, L, D].
    """
    length = x_BLD.shape[1]
    double = 2 * length  # with fewer zeros the end of the window would come round to its start
    spectrum = torch.fft.rfft(x_BLD.float(), n=double, dim=1)  # half precision has no transform
    filters = torch.fft.rfft(weight[:length].float(), n=double, dim=0)
    filtered: Tensor = torch.fft.irfft(spectrum * filters, n=double, dim=1)
    return filtered[:, :length].to(x_BLD.dtype)
