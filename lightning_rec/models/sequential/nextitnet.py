"""NextItNet: A Simple Convolutional Generative Network for Next Item Recommendation.

Yuan, Karatzoglou, Arapakis, Jose and He, WSDM 2019, arXiv:1808.05163. Shapes: as in
:class:`NeuralSequenceModel`.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import TRUNCATED, NeuralSequenceModel
from lightning_rec.ranges import BelowOne

Dilations = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class NextItNet(NeuralSequenceModel):
    """Residual blocks of dilated causal convolutions; no pooling, no positions.

    Items are scored by a second table in the paper (``tied=False``).

    Args:
        kernel: positions that a convolution looks at.
        dilations: one block for each; a block convolves with this dilation, then with twice it.
            By default a position sees itself and the 30 before it.
        dropout: on the item vectors (none in the paper).
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        kernel: PositiveInt = 3,
        dilations: Dilations = (1, 4),
        dropout: BelowOne = 0.0,
        tied: bool = False,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, kernel, dilation) for dilation in dilations)
        self.output = None if tied else nn.Embedding(schema.num_items, dim)
        self.second_table = not tied
        self.output_bias = self.item.new_bias()
        self.initialise(TRUNCATED)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        hidden_BLD = self.dropout(self.embedded(histories))
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD)
        return gather(hidden_BLD, positions)


class Block(nn.Module):
    """The residual block of figure 3b: twice convolution, LayerNorm, ReLU; then the input again."""

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.near = Convolution(dim, kernel, dilation)
        self.near_norm = nn.LayerNorm(dim)
        self.far = Convolution(dim, kernel, 2 * dilation)
        self.far_norm = nn.LayerNorm(dim)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Float [B, L, D] -> the same."""
        inner = F.relu(self.near_norm(self.near(hidden_BLD)))
        return hidden_BLD + F.relu(self.far_norm(self.far(inner)))


class Convolution(nn.Module):
    """A dilated causal convolution: a position, and those 1, 2, … dilations before it.

    Written as one linear map of ``kernel`` shifted copies, which on a CPU is sooner than
    ``nn.Conv1d``.
    """

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.weigh = nn.Linear(kernel * dim, dim)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Float [B, L, D] -> the same; zeros stand before the first place."""
        length, reach = x_BLD.shape[1], (self.kernel - 1) * self.dilation
        padded = F.pad(x_BLD, (0, 0, reach, 0))
        starts = range(0, reach + 1, self.dilation)  # the oldest first
        copies = [padded[:, start : start + length] for start in starts]
        return self.weigh(torch.cat(copies, dim=-1))
