"""BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer.

Sun et al., CIKM 2019, arXiv:1904.06690. Shapes: B sequences, L places, D = dim, H heads,
V = num_items, M predictions.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Schema

Dropout = Annotated[float, Field(ge=0, lt=1)]


class BERT4Rec(nn.Module):
    """A bidirectional transformer over items, with the item table tied to the output.

    Places are counted from the latest item, so that padding on the left, and how much of it a
    batch happens to need, changes no score.

    Args:
        schema: number of items, codes of padding and mask, longest sequence.
        dim: width of item vectors and hidden states.
        depth: number of transformer layers.
        heads: attention heads; must divide ``dim``.
        feedforward: width of the feed-forward layer as a multiple of ``dim`` (4 in the paper).
        dropout: after the embeddings and each sub-layer.
        attention_dropout: on the attention weights.
        init: how the layers start. ``xavier`` gives them Glorot's normal and leaves embeddings at
            0.02; ``paper`` starts everything from the paper's truncated normal of 0.02. What that
            does to the figures is in ``experiments/bert4rec_ml100k``.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.
    """

    objectives: ClassVar[tuple[str, ...]] = ("masked_item",)

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: PositiveInt = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: Dropout = 0.2,
        attention_dropout: Dropout = 0.2,
        init: Literal["xavier", "paper"] = "xavier",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.schema = schema
        self.item = nn.Embedding(schema.num_items + 2, dim, padding_idx=schema.padding)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(dim, heads, dim * feedforward, dropout, attention_dropout) for _ in range(depth)
        )
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim)
        self.output_bias = nn.Parameter(torch.zeros(schema.num_items))
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if init == "xavier":
                    nn.init.xavier_normal_(module.weight)
        with torch.no_grad():
            self.item.weight[self.schema.padding].zero_()

    def forward(self, items: Tensor) -> Tensor:
        """Encode item codes int64 [B, L], padded on the left, to float [B, L, D].

        Raises:
            ValueError: if L exceeds ``max_len``.
        """
        length = items.shape[1]
        if length > self.schema.max_len:
            raise ValueError(f"{length} items exceed max_len={self.schema.max_len}")
        real = items != self.schema.padding
        visible = real[:, None, None, :]  # [B, 1, 1, L]: what each place may look at
        places = torch.arange(length - 1, -1, -1, device=items.device)  # 0 is the latest
        hidden_BLD = self.item(items) + self.position(places)
        hidden_BLD = self.dropout(self.norm(hidden_BLD))
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, visible)
        encoded: Tensor = hidden_BLD
        return encoded

    def scores(self, hidden: Tensor) -> Tensor:
        """Score every item (equation 7): float [..., D] -> [..., V]."""
        hidden = self.transform_norm(F.gelu(self.transform(hidden)))
        return F.linear(hidden, self.item.weight[: self.schema.num_items], self.output_bias)


class Layer(nn.Module):
    """Self-attention, then feed-forward, each with dropout, residual, LayerNorm (eq. 1 to 6)."""

    def __init__(
        self, dim: int, heads: int, inner: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, visible: Tensor) -> Tensor:
        """Float [B, L, D] and bool [B, 1, 1, L] -> float [B, L, D]."""
        attended_BLD = self._attend(hidden_BLD, visible)
        hidden_BLD = self.attention_norm(hidden_BLD + self.dropout(self.output(attended_BLD)))
        inner = self.contract(F.gelu(self.expand(hidden_BLD)))
        normed: Tensor = self.norm(hidden_BLD + self.dropout(inner))
        return normed

    def _attend(self, hidden_BLD: Tensor, visible: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, L, D/H]

        attended = F.scaled_dot_product_attention(
            split(self.query(hidden_BLD)),
            split(self.key(hidden_BLD)),
            split(self.value(hidden_BLD)),
            attn_mask=visible,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)
