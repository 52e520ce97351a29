"""Embedding tables and maps beside the common table of all fields: shapes as in ``parts``."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Field, Rows
from lightning_rec.models.layers import Embedding

EMBEDDING_STD = 1e-4


def embedding(rows: int, dim: int) -> Embedding:
    """A new table whose first row is zeros and stays so."""
    table = Embedding(rows, dim, padding_idx=0)
    nn.init.normal_(table.weight, std=EMBEDDING_STD)
    with torch.no_grad():
        table.weight[0] = 0
    return table


class OwnTable(nn.Module):
    """The vectors of one field in a width of their own, mapped to ``dim``, the common one."""

    columns: Tensor

    def __init__(self, field: Field, schema: ClickSchema, dim: int) -> None:
        super().__init__()
        assert field.dim is not None
        before = sum(other.width for other in schema.fields[: schema.fields.index(field)])
        columns = torch.arange(before, before + field.width)
        self.register_buffer("columns", columns, persistent=False)
        self.start = field.start
        self.table = embedding(field.size + 1, field.dim)
        self.project = nn.Linear(field.dim, dim, bias=False)

    def added_to(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Add this field's vectors, at its columns, to float [B, I, dim]; ids int32 [B, I]."""
        own = (ids[:, self.columns] - (self.start - 1)).clamp(min=0)  # 0 still fills lists
        return vectors.index_add(1, self.columns, self.vectors(own).to(vectors.dtype))

    def vectors(self, rows: Tensor) -> Tensor:
        """Rows of the table, brought to the common width: int of any shape -> float [..., dim]."""
        return self.project(self.table(rows))


class ItemMap(nn.Module):
    """Vectors that describe items, mapped to ``dim``, the width of the vectors of fields."""

    column: Tensor

    def __init__(self, schema: ClickSchema, dim: int) -> None:
        super().__init__()
        column = schema.place(str(schema.item))  # categories have one each, and come first
        self.register_buffer("column", torch.tensor([column]), persistent=False)
        self.project = nn.Linear(schema.described, dim)

    def forward(self, codes: Tensor, items: BatchItems) -> Tensor:
        """Codes of items, int64 of any shape -> float [..., dim]."""
        row = torch.searchsorted(items.codes, codes).clamp(max=len(items.codes) - 1)
        vectors = self.project(items.vectors).to(self.project.weight.dtype)
        return functional.embedding(row, vectors)

    def added_to(self, vectors: Tensor, rows: Rows) -> Tensor:
        """Add those of the items shown, at their column, to float [B, I, dim]."""
        assert rows.item is not None
        assert rows.items is not None, "a model with described items is wrapped into WithItems"
        read = self(rows.item, rows.items)[:, None]
        return vectors.index_add(1, self.column, read)
