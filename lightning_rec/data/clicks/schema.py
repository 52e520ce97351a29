"""What a model of clicks is told of the fields, and the rows that it is given."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lightning_rec.data.clicks.fields import Kind
from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import listed, nearest

if TYPE_CHECKING:
    from torch import Tensor


class Field(NamedTuple):
    """A feature as models see it.

    name: of the column.  kind: which kind; a number with buckets is categorical.
    start, size: it owns the rows ``start`` to ``start + size - 1`` of the embedding table: the
        first for unknown values and then one per category; a number has one row, and what an
        encoder makes of the history none.
    width: columns of ``ids`` it has: 1 for a category, more for many, 0 for a number.
    dim: of its vectors, where it is not that of the model; of what an encoder makes, its width.
    """

    name: str
    kind: Kind
    start: int
    size: int
    width: int
    dim: int | None = None


class ClickSchema(NamedTuple):
    """The runtime facts that a model of clicks needs.

    fields: categories first, then lists, numbers, and what an encoder makes of the history.
    item: name of the field of items, whose values a history holds; None where it is not declared.
    max_len: most items of a history; 0 where rows have none.
    goals: names of what is predicted, mostly one.
    described: E, width of vectors that describe items, such as of their texts; 0 if there are none.
    by_id: whether items have vectors of their own, too.

    Row 0 of the embedding table belongs to no field: it fills short lists of values.
    """

    fields: tuple[Field, ...]
    item: str | None = None
    max_len: int = 0
    goals: tuple[str, ...] = ("click",)
    described: int = 0
    by_id: bool = True

    @property
    def history(self) -> Schema | None:
        """Histories as models of sequences know them, without users; None where rows have none.
        Item ``c`` of a history is the category with row ``start + 1 + c`` of the field ``item``.
        """
        if not self.max_len or self.item is None:
            return None
        return Schema(self.fields[self.place(self.item)].size - 1, self.max_len, 1)

    @property
    def num_fields(self) -> int:
        """How many features there are, each one vector."""
        return len(self.fields)

    @property
    def num_rows(self) -> int:
        """Rows of the embedding table."""
        return 1 + sum(field.size for field in self.fields)

    @property
    def columns(self) -> int:
        """Columns of ``ids``."""
        return sum(field.width for field in self.fields)

    def with_dims(self, dims: Mapping[str, int]) -> "ClickSchema":
        """The same fields, with widths of vectors by name: those of the model for all others."""
        widths = {**dims, **{x.name: x.dim for x in self.fields if x.kind == "encoded"}}
        return self._replace(fields=tuple(x._replace(dim=widths.get(x.name)) for x in self.fields))

    def of(self, kind: Kind) -> tuple[Field, ...]:
        """The fields of one kind."""
        return tuple(field for field in self.fields if field.kind == kind)

    def place(self, name: str) -> int:
        """Where the field ``name`` stands. Raises ValueError, with the names there are."""
        names = [field.name for field in self.fields]
        if name not in names:
            raise ValueError(f"there is no field '{name}'.{nearest(name, names)} {listed(names)}.")
        return names.index(name)


class BatchItems(NamedTuple):
    """The items that the rows of a batch show or have in their histories, each once: their codes,
    int64 [n], rising, and the vectors that describe them, float [n, E].
    """

    codes: "Tensor"
    vectors: "Tensor"


class Rows(NamedTuple):
    """What a model reads.

    ids: int32 [B, I]; rows of the embedding table, as :class:`Encoded` has them.
    values: float32 [B, D]; numbers, scaled.
    history: past items, int64 [B, L] codes padded on the right by their number, the longest first;
        None where the model reads none.
    encoded: float [B, Q]; what an encoder made of the history, before a head reads it.
    item: int64 [B]; codes of the items shown, as :class:`Items` has them; None where nothing
        describes items.
    items: vectors of the items shown and past, before a head reads them.
    """

    ids: "Tensor"
    values: "Tensor"
    history: Histories | None = None
    encoded: "Tensor | None" = None
    item: "Tensor | None" = None
    items: BatchItems | None = None
