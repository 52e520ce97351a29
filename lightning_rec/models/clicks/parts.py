"""What models of clicks share: vectors of fields, the linear part, the network on top.

A model of clicks is made of vectors of its fields and of a head over them. Whatever else is known
of a row, such as an encoded history, can join as one more field: heads take any number of them.

Initial values and the order of layers are those of the published benchmark of CTR models (BARS, Zhu
et al., SIGIR 2022; FuxiCTR 1.1): embeddings from N(0, 1e-4²), linear maps by Xavier's normal
distribution, biases 0; linear, batch norm, activation, dropout. Shapes: B rows, F fields, D = dim.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Field, Rows
from lightning_rec.models.clicks.tables import ItemMap, OwnTable, embedding
from lightning_rec.models.layers import Dropout
from lightning_rec.needs import ABSENT, LOSS, Need
from lightning_rec.ranges import Widths

FITTED = tuple(
    Need(node, ABSENT, f"is fitted at once and takes no {node}")
    for node in ("loss", "item", "encoder")
)


class ClickModel(nn.Module, ABC):
    """A module that gives a row of clicks the logit of its probability.

    Constructors name alike what they share: ``schema``, the fields, goals and history; ``dim``, the
    width D of the fields' vectors; ``mlp``, the widths of a network; ``tower``, those of the
    network of each goal; ``dropout`` and ``batch_norm`` in all networks.

    ``title`` is what tables call it; ``reads_history`` says whether it needs the histories of the
    rows itself, ``multi_task`` whether it gives a logit for each of several goals, ``sequential``
    whether a goal comes only after the others before it, ``reads_scores`` whether an encoder brings
    it the score of the item shown. ``sides`` are the positions of the fields of user and item of a
    model that has a vector of each, by :meth:`encode_sides`.
    """

    kind: ClassVar[str] = "clicks"
    needs: ClassVar[tuple[Need, ...]] = (LOSS,)
    reads_scores: ClassVar[bool] = False
    reads_history: bool = False
    multi_task: bool = False
    sequential: bool = False
    sides: tuple[list[int], list[int]] | None = None
    __call__: Callable[..., Tensor]

    def __init__(self, schema: ClickSchema, wrapped: "ClickModel | None" = None) -> None:
        super().__init__()
        self.schema = schema
        self.title: str = type(self).__name__ if wrapped is None else wrapped.title
        if wrapped is not None:
            self.multi_task, self.sequential = wrapped.multi_task, wrapped.sequential

    def initialise(self) -> None:
        """Draw linear maps from Xavier's normal distribution, set their biases to 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @abstractmethod
    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G] of models of several goals.

        ``rows``: ids int32 [B, I] and values float32 [B, D']; with what else the schema has.
        """

    def penalty(self) -> Tensor | float:
        """A term that the paper adds to the loss, scalar: of what the latest training ``forward``
        read, asked once after it. Whoever asks does so of each model that others wrap as well.
        """
        return 0.0

    def encode_sides(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Vectors of the users and of the items of ``rows``, float [B, T] each."""
        raise NotImplementedError


@runtime_checkable
class FittedToClicks(Protocol):
    """A model that reads the training rows at once, instead of gradient steps."""

    def fit(self, encoded: Encoded) -> None:
        """Fit on the training rows of ``encoded``; those of validation may choose a setting."""


class HistoryModel(ClickModel):
    """A click model that reads the history of each row itself, and the item shown.

    ``padding``: code in histories. ``item``: position of the item's field. Raises ValueError where
    rows have no history.
    """

    reads_history = True

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__(schema)
        if schema.history is None:
            raise ValueError(
                f"{self.title} reads what somebody did before: say data.fields.item=COLUMN and "
                "data.fields.history=COLUMN, or data.fields.past=clicks to make histories of the "
                "log"
            )
        self.padding, self.longest = schema.history.padding, schema.history.max_len
        self.item = schema.place(str(schema.item))

    def history(self, rows: Rows) -> Tensor:
        """The items of the histories of ``rows``, int64 [B, L]."""
        assert rows.history is not None, "batches are cut with histories for models that read them"
        return rows.history.items


class FieldVectors(nn.Module):
    """A vector of width ``dim`` per field, out of one embedding table for all fields.

    A category has a row of the table; a list of values the mean of theirs, or zeros if it is empty;
    a number its value times its field's row; what an encoder made of the history a linear map of
    it. A field with a ``dim`` of its own has a table of its own, and a linear map to the common
    width. Where vectors describe items, a linear map of these is added to their own or
    stands alone.
    """

    __call__: Callable[..., Tensor]
    numbers: Tensor
    shift: Tensor

    def __init__(self, schema: ClickSchema, dim: int) -> None:
        super().__init__()
        encoded = schema.of("encoded")
        self.item = schema.fields[schema.place(schema.item)] if schema.item else None
        self.described = ItemMap(schema, dim) if schema.described else None
        self.by_id = schema.by_id
        unread = [self.item] if self.item is not None and not schema.by_id else []
        sized = [f for f in schema.fields if f not in encoded and f.dim not in (None, dim)]
        apart = [field for field in sized if field not in unread]
        self.apart = nn.ModuleList(OwnTable(field, schema, dim) for field in apart)
        absent = [*apart, *unread]  # from the common table
        self.gaps = bool(absent)
        size = schema.num_rows - sum(field.size for field in absent)
        self.table = embedding(size, dim)
        self.single = len(schema.of("categorical"))
        self.widths = [field.width for field in schema.of("multi_valued")]
        numbers = torch.arange(size - len(schema.of("numeric")), size)
        self.register_buffer("numbers", numbers.int(), persistent=False)  # their rows
        self.register_buffer("shift", _shift(schema, absent), persistent=False)
        self.maps = nn.ModuleList(nn.Linear(field.dim or dim, dim) for field in encoded)
        self.history = schema.history

    def forward(self, rows: Rows) -> Tensor:
        """Vectors of the fields, in the order of the schema: float [B, F, dim]."""
        ids = (rows.ids - self.shift).clamp(min=0) if self.gaps else rows.ids
        # One look-up for all: each would bring a gradient of the size of the table.
        looked_up = self.table(torch.cat([ids.flatten(), self.numbers]))
        vectors, of_numbers = torch.split(looked_up, [ids.numel(), len(self.numbers)])
        vectors = vectors.view(*ids.shape, self.table.embedding_dim)  # [B, I, dim]
        for own in self.apart:
            assert isinstance(own, OwnTable)
            vectors = own.added_to(vectors, rows.ids)
        if self.described is not None:
            vectors = self.described.added_to(vectors, rows)
        sizes = [self.single, *self.widths]
        # Split, since slices would make a copy each of the whole gradient.
        single, *lists = torch.split(vectors, sizes, dim=1)
        fields = [single]
        for values, of in zip(lists, torch.split(rows.ids, sizes, dim=1)[1:], strict=True):
            number = (of > 0).sum(dim=1, keepdim=True).clamp(min=1)  # [B, 1]
            fields.append(values.sum(dim=1, keepdim=True) / number[:, :, None])
        if rows.values.shape[1]:
            fields.append(rows.values[:, :, None] * of_numbers)  # [B, D', 1] x [D', dim]
        for of_history in self.maps:
            assert rows.encoded is not None
            fields.append(of_history(rows.encoded)[:, None])
        return torch.cat(fields, dim=1) if len(fields) > 1 else fields[0]

    def items(self, codes: Tensor, described: BatchItems | None = None) -> Tensor:
        """Vectors of items of histories: int64 [...] -> float [..., dim], 0 for padding.

        ``described``: what describes the items of the batch, where anything does.
        """
        assert self.history is not None
        padding = codes == self.history.padding
        if self.described is None:
            return self._by_id(codes, padding)
        assert described is not None
        read: Tensor = self.described(codes.masked_fill(padding, 0), described)
        read = read.masked_fill(padding[..., None], 0)
        return read + self._by_id(codes, padding) if self.by_id else read

    def _by_id(self, codes: Tensor, padding: Tensor) -> Tensor:
        assert self.item is not None
        skipped = 0  # rows of the fields before this one that have tables of their own
        for own in self.apart:
            assert isinstance(own, OwnTable)
            if own.start == self.item.start:
                return own.vectors((codes + 2).masked_fill(padding, 0))  # after 0 and the unknown
            skipped += (own.table.num_embeddings - 1) * (own.start < self.item.start)
        rows = codes + (self.item.start + 1 - skipped)
        return self.table(rows.masked_fill(padding, 0))


def _shift(schema: ClickSchema, apart: list[Field]) -> Tensor:
    """What to take from each column of ids, int32 [I], so that tables apart leave no gap."""
    shift, skipped = [], 0
    for field in schema.fields:
        if field in apart:
            skipped += field.size
        # Ids of a field with a table of its own become 0, whose vector is zeros.
        shift += [schema.num_rows if field in apart else skipped] * field.width
    return torch.tensor(shift, dtype=torch.int32)


class FirstOrder(nn.Module):
    """The linear part: a bias and a weight per category, times its value for a number."""

    __call__: Callable[..., Tensor]

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__()
        self.fields = FieldVectors(schema.with_dims({}), 1)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rows: Rows) -> Tensor:
        """Sum of the weights, float [B]."""
        return self.fields(rows).sum(dim=(1, 2)) + self.bias


class RowNorm(nn.BatchNorm1d):
    """Batch norm by which a lone row, such as a last batch, takes the running statistics."""

    def forward(self, rows: Tensor) -> Tensor:
        """Scaled rows, float [B, D]."""
        if not self.training or len(rows) > 1:
            return super().forward(rows)
        known = (self.running_mean, self.running_var, self.weight, self.bias)
        return functional.batch_norm(rows, *known, training=False, eps=self.eps)


class MLP(nn.Sequential):
    """Layers of linear, batch norm, activation and dropout, in this order.

    ``output``: whether a linear map to one number follows. ``activation``: makes that of a layer of
    some width; None takes ReLU.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self,
        inputs: int,
        widths: Widths,
        dropout: float,
        batch_norm: bool,
        output: bool = True,
        activation: Callable[[int], nn.Module] | None = None,
    ) -> None:
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *widths), widths, strict=False):
            layers.append(nn.Linear(before, width))
            if batch_norm:
                layers.append(RowNorm(width))
            layers += [activation(width) if activation else nn.ReLU(), Dropout(dropout)]
        if output:
            layers.append(nn.Linear(widths[-1] if widths else inputs, 1))
        super().__init__(*layers)


def sides(schema: ClickSchema, item_fields: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Positions in the schema of the fields of the user, and of the item shown.

    The second are ``item_fields``, or without any the field that ``data.fields.item`` names; the
    first all others. Raises ValueError if one side is left without fields.
    """
    names = item_fields or ((schema.item,) if schema.item else ())
    of_item = [schema.place(name) for name in names]
    of_user = [field for field in range(schema.num_fields) if field not in of_item]
    if not of_item or not of_user:
        raise ValueError(
            "item_fields=[…] must name the fields of the item and leave some for the user "
            "(none: the field that data.fields.item names)"
        )
    return of_user, of_item
