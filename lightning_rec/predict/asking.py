"""What a predictor is asked, from whatever form it comes in to item codes, and back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.batches import gather_times
from lightning_rec.data.ids import ids_of
from lightning_rec.data.names import lacking
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.predict.indexed import nearest_others
from lightning_rec.predict.unknown import unknown_items
from lightning_rec.retrieval.exact import SCORE_BYTES, Pairs, rank_blocks
from lightning_rec.retrieval.index.base import Index

Frame = Any  # a Polars or pandas frame, or a mapping of columns
Histories = Sequence[Sequence[Any]] | Frame
Floats = NDArray[np.float32]
ROWS = 512  # items or histories that are answered at once


class Catalogue:
    """The items of a run, ``item`` and perhaps ``title``; row i is item code i."""

    def __init__(self, items: pl.DataFrame) -> None:
        self.items, self._codes = items, numbered(items["item"], "item")

    def __len__(self) -> int:
        return len(self.items)

    def codes(self, items: pl.Series) -> pl.Series:
        """Item codes, UInt32, null where there is none."""
        ids = ids_of(items.cast(pl.String) if items.dtype == pl.Null else items)
        joined = ids.to_frame("item").join(self._codes, "item", "left", maintain_order="left")
        return joined["code"]

    def shown(self, codes: list[int]) -> pl.DataFrame:
        """``item``, and ``title`` where there are any, of some codes."""
        columns = [name for name in ("item", "title") if name in self.items.columns]
        return self.items.select(columns)[codes]

    def ranked(self, key: pl.Series, rank: Ints, codes: Ints, score: Floats) -> pl.DataFrame:
        """The column ``key``, ``rank`` (UInt32), the items with these codes, and ``score``."""
        told = key.to_frame().with_columns(rank=pl.Series(rank, dtype=pl.UInt32))
        shown = self.shown(codes.tolist())
        return pl.concat([told, shown], how="horizontal").with_columns(score=pl.Series(score))

    def similar(
        self,
        vectors: Tensor,
        items: Sequence[Any],
        k: int,
        index: Callable[[Tensor], Index | None] = lambda _: None,
    ) -> pl.DataFrame:
        """The ``k`` items whose vectors have the highest cosine with those of ``items``.

        Args, errors, returns: see :meth:`Predictor.similar`; vectors: float [V, D]; index: makes
        that of vectors of length 1, or None to compare with all.
        """
        check_k(k, len(self.items) - 1, "an item has from 1 to {:,} others")
        asked = series("item", items)
        code = self.codes(asked)
        if code.has_nulls():
            raise UserError(unknown_items(asked.filter(code.is_null()), self.items["item"]))
        unit = torch.nn.functional.normalize(vectors, dim=1)
        parts, none, made = list[tuple[Tensor, Tensor]](), Pairs.none(unit.device), index(unit)
        for some in torch.tensor(code.to_list(), dtype=torch.int64).split(ROWS):
            if made is not None:
                near, cosine = nearest_others(made, unit, some, k)
                if (cosine > -torch.inf).all():  # else it finds fewer than there are
                    parts.append((near, cosine))
                    continue
            itself = Pairs(torch.arange(len(some)), some)
            cosines = partial(_products, unit[some], unit)
            width = max(1, SCORE_BYTES // (4 * ROWS))
            found = rank_blocks(cosines, len(some), len(unit), k, none, itself, width=width)
            parts.append((found.items, found.scores))
        codes, scores = (torch.cat(each).flatten() for each in zip(*parts, strict=True))
        of, rank = np.repeat(np.arange(len(asked)), k), np.tile(np.arange(1, k + 1), len(asked))
        told = pl.DataFrame({"item": asked.gather(of), "rank": rank.astype(np.uint32)})
        shown = self.shown(codes.tolist()).rename({"item": "similar"})
        scored = pl.concat([told, shown], how="horizontal").with_columns(
            pl.Series("score", scores.numpy())
        )
        return scored.filter(pl.col("score") > -np.inf)


def _products(queries: Tensor, vectors: Tensor, start: int, stop: int) -> Tensor:
    return queries @ vectors[start:stop].T


class Asked(NamedTuple):
    """Whom something is asked for: n histories of known items.

    key: their names, as they are given back.
    items: int32 [S] item codes, oldest first.  offsets: int64 [n + 1]; history i is
    ``items[offsets[i]:offsets[i + 1]]``.  user: int64 [n] user codes, -1 for somebody new.
    times: int64 [S] seconds of the items, if known.  at: int64 [n], when the next one is asked for.
    events: int32 [S, F], what columns say of the items' events, if known; see :mod:`data.side`.
    lacks: columns of these that were not said.
    """

    key: pl.Series
    items: NDArray[np.int32]
    offsets: Ints
    user: Ints
    times: Ints | None = None
    at: Ints | None = None
    events: NDArray[np.int32] | None = None
    lacks: tuple[str, ...] = ()

    @property
    def said(self) -> tuple[Ints | None, NDArray[np.int32] | None, tuple[str, ...]]:
        """What is said of events."""
        return self.times, self.events, self.lacks

    def when(self, rows: Ints, start: Ints, end: Ints) -> Tensor | None:
        """Times of ``items[start[b]:end[b]]`` of some rows, as of histories: int64 [B, L + 1]."""
        if self.times is None:
            return None
        after = self.times[end - 1] if self.at is None else self.at[rows]
        return gather_times(self.times, start, end, after)


def numbered(ids: pl.Series, name: str) -> pl.DataFrame:
    """Ids by the one rule, under ``name``, and their row as ``code``, UInt32; once each."""
    found = ids_of(ids).alias(name).to_frame().with_row_index("code")
    return found.unique(name, keep="first", maintain_order=True)


def each_of(name: str, values: Any) -> list[Any]:
    """The elements of a list. Raises UserError for no list, or a text, which has letters."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UserError(f"{name}: {values!r} is no list: put brackets around it.")
    return list(values)


def series(name: str, values: Any) -> pl.Series:
    """Ids as a column, numbers and texts as one id where :func:`ids_of` has them so.

    Raises UserError for no list, or one of something else than numbers and texts.
    """
    if not isinstance(values, pl.Series):
        values = each_of(f"{name}s", values)
        kinds = set(map(type, values)) - {type(None)}
        if len(kinds) > 1:  # each by its own type, as one type for all loses digits
            of = {kind: [each for each in values if type(each) is kind] for kind in kinds}
            read = {kind: iter(ids_of(series(name, each))) for kind, each in of.items()}
            values = [None if each is None else next(read[type(each)]) for each in values]
        try:
            values = pl.Series(values, strict=False)
        except (TypeError, pl.exceptions.PolarsError):
            values = pl.Series(values, dtype=pl.Object)
    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise UserError(f"{name}s: an id is a number or a text, and nothing else.")
    return values.alias(name)


def check_k(k: Any, most: int, told: str) -> None:
    """Raise UserError unless ``k`` is a whole number from 1 to ``most``, which ``told`` says."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise UserError(f"k={k!r}: it has to be a whole number.")
    if not 1 <= int(k) <= most:
        raise UserError(f"k={k}: {told.format(most)}.")


def cut(
    key: pl.Series,
    codes: pl.Series,
    user: Ints,
    times: pl.Series | None = None,
    events: pl.Series | None = None,
) -> Asked:
    """What is asked of lists of item codes, List[UInt32] [n], with their times, List[Int64] [n],
    and with the rows of their events, List[UInt32] [n], F of each.
    """
    offsets = np.concatenate([[0], np.cumsum(codes.list.len().to_numpy(), dtype=np.int64)])
    flat = codes.explode(empty_as_null=False, keep_nulls=False)
    found: list[Any] = [None, None]
    for place, (lists, dtype) in enumerate(((times, np.int64), (events, np.int32))):
        if lists is not None:
            each = lists.explode(empty_as_null=False, keep_nulls=False)
            found[place] = each.to_numpy().astype(dtype)
    if found[1] is not None:
        found[1] = found[1].reshape(len(flat), -1) if len(flat) else None
    return Asked(key, flat.to_numpy().astype(np.int32), offsets, user, found[0], None, found[1])


def split(rows: Ints, step: int) -> Iterator[Ints]:
    """``step`` rows at a time."""
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def arrays(vectors: NDArray[np.float32]) -> pl.Series:
    """Vectors, float32 [n, D], as a column."""
    return pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))


def frame(rows: Frame, *required: str, answers: Sequence[str] = ()) -> pl.DataFrame:
    """A Polars or pandas frame, or a mapping of columns, as a Polars frame; NaN of pandas is null.

    Raises UserError if it is none of these, a column is missing or of another length, or one is
    called as one of ``answers`` will be.
    """
    if isinstance(rows, pl.LazyFrame):
        rows = rows.collect()
    if not (hasattr(rows, "columns") or hasattr(rows, "keys")):
        raise UserError(
            "Rows are a frame of Polars or pandas, or a mapping of columns, and no "
            f"{type(rows).__name__}."
        )
    columns = list(rows.columns) if hasattr(rows, "columns") else list(rows)
    if missing := [name for name in required if name not in columns]:
        raise UserError(lacking("The table", missing[0], map(str, columns)))
    if there := [name for name in answers if name in columns]:
        raise UserError(
            f"The rows have a column '{there[0]}', which is what the answer is called: rename it."
        )
    if isinstance(rows, pl.DataFrame):
        return rows
    lists = {str(name): _values(rows[name]) for name in columns}
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values):,}" for name, values in lists.items())
        raise UserError(f"The columns of the rows differ in length: {lengths}.")
    return polars_of(lists)


def polars_of(columns: dict[str, list[Any]]) -> pl.DataFrame:
    """Columns of plain values as a frame. Raises UserError for a whole number that has no place."""
    made = pl.DataFrame(columns, strict=False)
    for name, values in columns.items():
        for row in made[name].is_null().arg_true():
            if isinstance(values[row], int):  # beyond 128 bits: Polars makes an empty cell of it
                raise UserError(f"Row {row}: a number in column '{name}' is too large.")
    return made


def _values(column: Any) -> list[Any]:
    """The values of a column, None where one of pandas has none."""
    if hasattr(column, "notna"):
        column = column.astype(object).where(column.notna(), None)
    return list(column)
