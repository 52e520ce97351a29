"""SDIM: of a long history, what falls into the same buckets of random hashes as the item shown.

Cao et al., Sampling Is All You Need on Modeling Long-Term User Behaviors for CTR Prediction, CIKM
2022, arXiv:2205.10249. Shapes: B rows, F fields, D = dim, L longest history of the batch, S items
in all of them, H hashes.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, FieldVectors, HistoryModel
from lightning_rec.models.layers import attend
from lightning_rec.ranges import BelowOne, Widths

Bits = Annotated[int, Field(gt=0, le=16)]  # of a hash, which has 2 to the power of it buckets


class SDIM(HistoryModel):
    """z = MLP([fields, long, short]): a sum over colliding items, and attention to the latest ones.

    Signatures of the history do not depend on the item shown, and an item that does not collide
    costs no more than its signature: time grows with L by one product of L x D and D x (H bits).
    ``long`` is, over H hashes of ``bits`` signs each, the mean of the sums of the items that share
    a bucket with the item shown, each sum of length 1 (equations 8 to 10). ``short`` is attention
    of the item shown to the last ``short`` items, in ``heads`` heads, with maps of queries, keys,
    values and of what comes out. The authors have published no code; this is FuxiCTR's (at 0245987)
    with one width for all, and zeros where there is no history.

    Args:
        hashes: H; bits: signs of each, so that there are 2 to the power of it buckets.
        short: how many of the latest items the attention reads.
        heads: of the attention; must divide ``dim``.
        unit: whether sums have length 1.

    Raises ValueError if ``heads`` does not divide ``dim``.
    """

    statistics: ClassVar[tuple[str, ...]] = ("rotations",)  # of a training, as an update takes them
    rotations: Tensor

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        hashes: PositiveInt = 4,
        bits: Bits = 3,
        short: PositiveInt = 50,
        heads: PositiveInt = 2,
        mlp: Widths = (200, 80),
        unit: bool = True,
        dropout: BelowOne = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.fields = FieldVectors(schema, dim)
        self.register_buffer("rotations", torch.randn(dim, hashes * bits))
        self.hashes, self.bits, self.short, self.heads, self.unit = hashes, bits, short, heads, unit
        self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.value, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.deep = MLP((schema.num_fields + 2) * dim, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        items, shown = self.history(rows), vectors[:, self.item]
        long = self.long(items, shown, rows.items)
        latest = self.latest(items, shown, rows.items)
        return self.deep(torch.cat([vectors.flatten(1), long, latest], dim=1))[:, 0]

    def buckets(self, vectors: Tensor) -> Tensor:
        """Bucket of each vector under each hash: float [..., D] -> int64 [..., H]."""
        signs = (vectors.detach() @ self.rotations > 0).unflatten(-1, (self.hashes, self.bits))
        return (signs * 2 ** torch.arange(self.bits, device=signs.device)).sum(dim=-1)

    def long(self, items: Tensor, shown: Tensor, described: BatchItems | None = None) -> Tensor:
        """Float [B, D], of histories, int64 [B, L], and vectors of the items shown, [B, D]."""
        row, column = (items != self.padding).nonzero(as_tuple=True)
        past = self.fields.items(items[row, column], described)  # [S, D]
        item, which = (self.buckets(past) == self.buckets(shown)[row]).nonzero(as_tuple=True)
        sums = shown.new_zeros(len(shown) * self.hashes, shown.shape[1])
        sums = sums.index_add(0, row[item] * self.hashes + which, past[item])
        if self.unit:
            sums = functional.normalize(sums, dim=1)
        return sums.view(len(shown), self.hashes, -1).mean(dim=1)

    def latest(self, items: Tensor, shown: Tensor, described: BatchItems | None = None) -> Tensor:
        """Attention of the items shown, float [B, D], to the end of histories, int64 [B, L]."""
        length = (items != self.padding).sum(dim=1, keepdim=True)  # [B, 1]
        back = torch.arange(min(self.short, items.shape[1]), device=items.device)
        place = length - 1 - back  # [B, short], the latest first
        codes = items.take_along_dim(place.clamp(min=0), dim=1)
        codes = codes.masked_fill(place < 0, self.padding)
        past = self.fields.items(codes, described)
        query, key, value = self.query(shown)[:, None], self.key(past), self.value(past)
        visible = (place >= 0)[:, None, None]  # of no history anything is: what is read is dropped
        read = attend(query, key, value, self.heads, visible | (length == 0)[:, None, None])
        return self.out(read[:, 0]) * (length > 0)
