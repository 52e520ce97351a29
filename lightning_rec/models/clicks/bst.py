"""BST: a transformer over what somebody did before, and the item shown at its end.

Chen et al., Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, DLP-KDD 2019,
arXiv:1905.06874. Shapes: B rows, F fields, L items, D = dim, N = longest history.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Rows
from lightning_rec.models.blocks import blocks
from lightning_rec.models.clicks.parts import MLP, FieldVectors, HistoryModel
from lightning_rec.models.layers import PostNormLayer
from lightning_rec.ranges import BelowOne, Layers, Widths

BLOCK_TOKENS = 8192  # positions computed at once on a CPU


class BST(HistoryModel):
    """z = MLP([fields, transformer([e_A, e_1, …, e_L])]) with LeakyReLU (figure 1, section 2.3).

    The authors have published no code. What differs from the paper: (1) places. It has
    pos(v_i) = t(v_t) - t(v_i), the time that has passed since; histories here have an order alone,
    so places are counted back from the item shown, and each has a learnt vector. (2) Position
    vectors are added to those of items, which are of one width, where the paper takes a position as
    one more feature of an item, beside its others. (3) The history is that of the rows, of any
    length up to ``history_max_len``, where the paper has 20. (4) Widths: the paper's network has
    1024, 512, 256 and 8 heads, here 256, 128, 64 and 2 by default; the inner layer of a
    transformer is ``4 dim`` wide. What comes out is read place by place, the item shown first, as
    far back as the longest history goes, and zeros beyond. Items share their vectors with the field
    of the item shown.

    FuxiCTR's (at 0245987) concatenates vectors of places counted from the front, which begin as
    sinusoids, has inner layers of the width of the outer ones and ReLU in the network, and takes
    the mean over all places unless ``seq_pooling_type=concat``. DeepCTR's (at 35288ae) leaves the
    item shown out of the transformer, whose positional encoding it switches on, and pools what
    comes out by attention to that item.

    Args:
        depth: number of transformer layers (1 in the paper).
        heads: attention heads; must divide ``dim``.

    Raises ValueError if ``heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 1,
        heads: PositiveInt = 2,
        mlp: Widths = (256, 128, 64),
        dropout: BelowOne = 0.2,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.fields = FieldVectors(schema, dim)
        self.position = nn.Embedding(self.longest + 1, dim)
        self.layers = nn.ModuleList(
            PostNormLayer(dim, heads, 4 * dim, dropout, dropout, functional.leaky_relu)
            for _ in range(depth)
        )
        inputs = (schema.num_fields + self.longest + 1) * dim
        self.deep = MLP(inputs, mlp, dropout, batch_norm, activation=lambda _: nn.LeakyReLU())
        nn.init.normal_(self.position.weight, std=0.02)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        items, shown = self.history(rows), vectors[:, self.item]
        length = (items != self.padding).sum(dim=1)  # [B]
        tokens = BLOCK_TOKENS if items.device.type == "cpu" else None
        read = [
            self.read(items[part, :longest], shown[part], length[part], rows.items)
            for part, longest in blocks(length.tolist(), items.shape[1], tokens)
        ]
        return self.deep(torch.cat([vectors.flatten(1), torch.cat(read)], dim=1))[:, 0]

    def read(
        self, items: Tensor, shown: Tensor, length: Tensor, described: BatchItems | None = None
    ) -> Tensor:
        """States of the transformer by position, counted back from the item shown.

        ``items``: int64 [B, L]; ``shown``: float [B, D]; ``length``: int64 [B], of each history;
        ``described``: what describes the items, if anything does. Returns float [B, (N + 1) D],
        zero where a history does not go back so far.
        """
        index = torch.arange(items.shape[1], device=items.device)
        back = (length[:, None] - index).clamp(min=0)  # [B, L]; 1 is the latest
        back = functional.pad(back, (1, 0))  # the item shown comes first, at 0
        past = self.fields.items(items, described)
        x = torch.cat([shown[:, None], past], dim=1) + self.position(back)
        mask = functional.pad(items != self.padding, (1, 0), value=True)  # [B, L + 1]
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        slots = torch.arange(self.longest + 1, device=items.device).expand(len(items), -1)
        positions = (1 + length[:, None] - slots).clamp(0, items.shape[1]) * (slots > 0)
        valid = (slots <= length[:, None]).to(x.dtype)
        states: Tensor = x.take_along_dim(positions[:, :, None], dim=1) * valid[:, :, None]
        return states.flatten(1)
