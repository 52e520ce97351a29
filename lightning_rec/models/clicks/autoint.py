"""AutoInt: fields attend to one another; AutoInt+ has a network beside it.

Song et al., AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks,
CIKM 2019, arXiv:1810.11921. Shapes: B rows, F fields, D = dim, A = attention_dim.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.models.layers import Dropout, split_heads
from lightning_rec.ranges import BelowOne, Layers, Widths


class Interacting(nn.Module):
    """One interacting layer: e' = ReLU(attention(e) + W_res e) (equations 5 to 8).

    Scores are inner products without a factor, as in the paper. ``dim`` is A, of all heads.
    """

    def __init__(self, inputs: int, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(inputs, dim, bias=False)
        self.key = nn.Linear(inputs, dim, bias=False)
        self.value = nn.Linear(inputs, dim, bias=False)
        self.residual = nn.Linear(inputs, dim, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, F, inputs] -> [B, F, A]."""
        parts = (self.query(x), self.key(x), self.value(x))
        query, key, value = (split_heads(part, self.heads) for part in parts)  # [B, H, F, A / H]
        weights = self.dropout(torch.softmax(query @ key.transpose(2, 3), dim=-1))  # [B, H, F, F]
        attended = (weights @ value).transpose(1, 2).flatten(2)
        return torch.relu(attended + self.residual(x))


class AutoInt(ClickModel):
    """z = w · [e'_1, …, e'_F] (equation 9), and deep(v) in AutoInt+.

    Args:
        attention_dim: width of an interacting layer; ``heads`` must divide it.
        depth: number of interacting layers.
        heads: heads of each.
        mlp: widths of the network; none leaves AutoInt without its plus.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        attention_dim: PositiveInt = 32,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        if attention_dim % heads:
            raise ValueError(f"heads={heads} must divide attention_dim={attention_dim}")
        self.fields = FieldVectors(schema, dim)
        self.layers = nn.Sequential(
            *(
                Interacting(attention_dim if layer else dim, attention_dim, heads, dropout)
                for layer in range(depth)
            )
        )
        self.output = nn.Linear(schema.num_fields * attention_dim, 1)
        self.deep = MLP(schema.num_fields * dim, mlp, dropout, batch_norm) if mlp else None
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        logits: Tensor = self.output(self.layers(vectors).flatten(1))[:, 0]
        if self.deep is not None:
            logits = logits + self.deep(vectors.flatten(1))[:, 0]
        return logits
