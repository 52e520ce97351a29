"""Items known by columns of the catalogue."""

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from pydantic import NonNegativeInt, PositiveInt

from lightning_rec.data.clicks import columns as cells
from lightning_rec.data.names import no_column
from lightning_rec.data.split import Schema
from lightning_rec.data.types import Floats, Ints
from lightning_rec.errors import UserError, listed
from lightning_rec.items.base import Described, Reading
from lightning_rec.models.items.base import ComputedItems
from lightning_rec.models.items.features import FeatureItems, ItemFeatures, Joined
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.ranges import BelowOne

log = logging.getLogger(__name__)

_BESIDE = ("code", "item", "title")
_PARTED = ("|", ";")  # the first that occurs in a column of texts parts its values
_CODES = 32  # different whole numbers up to which they may be codes of something
_FAR = 2.0**20  # standard deviations from the mean beyond which waves of float32 tell nothing
_NAMES = 0.5  # share of different texts from which on a column is names, and no categories

Kind = Literal["name", "category", "code", "number"]


class Features(Described):
    """Items are known by columns of the catalogue: categories, lists of categories and numbers.

    Args:
        columns: which; None takes all but titles, and texts that most items have for their own.
        categories: columns of numbers that stand for something, such as the number of a brand.
        bins: read numbers as categories, by so many equally frequent bins; None by waves.
        min_items: a category that fewer items have is left out.
        joined: ``sum`` of the columns' vectors, or ``concat``, a linear map of them all.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a training step.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
    """

    learnt = True
    choice = "features"
    reads_new = True

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        categories: Sequence[str] = (),
        bins: PositiveInt | None = None,
        min_items: PositiveInt = 2,
        joined: Joined = "sum",
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        neighbours: NonNegativeInt = NEIGHBOURS,
    ) -> None:
        self.columns = None if columns is None else [*columns]
        self.categories, self.bins = [*categories], bins
        self.min_items, self.joined = min_items, joined
        self._set_ids(ids, id_dropout, neighbours)
        self.template = "".join(f"{{{name}}}" for name in columns or ()) or None
        self.title = f"{listed(columns) if columns else 'features'}{' and ids' if ids else ''}"

    def described(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """Vectors of features."""
        features = None if reading is None else self.read_features(reading)
        return FeatureItems(schema, dim, features, self.joined)

    def read_features(self, reading: Reading) -> ItemFeatures:
        """The features of the catalogue. Raises UserError for a column that is not there."""
        about = reading.catalogue
        known = reading.trained if reading.restoring else len(about)  # to whom values belong
        trained = torch.arange(len(about)) < reading.trained
        categories, numbers, told = list[tuple[str, _Categories]](), [], []
        scales: dict[str, tuple[float, float]] = {}
        cuts: dict[str, tuple[float, ...]] = {}
        for name in self._chosen(about, known):
            column = about[name]
            if name not in self.categories and _is_number(column := _typed(column, known)):
                value = cells.numbers(column.cast(pl.Float64))
                if self.bins is None:
                    scales[name] = mean, deviation = _scale(value[:known])
                    value = np.where(np.isfinite(value), value, np.nan)
                    # Of items that came later a number may lie anywhere.
                    numbers.append(((value - mean) / deviation).clip(-_FAR, _FAR))
                    told.append(f"{name} (a number)")
                    continue
                edges = _edges(value[:known], self.bins)
                column, cuts[name] = _binned(value, edges), tuple(edges.tolist())
            found = _categories(column, known, self.min_items)
            categories.append((name, found))
            told.append(f"{name} ({found.size:,} categories)")
        parts = [part for _, part in categories]
        rows, offsets, size = _flat(parts, len(about))
        of_trained = torch.zeros(size, dtype=torch.bool)
        owner = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
        of_trained[rows[trained[owner // max(1, len(parts))]]] = True
        values = np.stack(numbers, axis=1) if numbers else np.zeros((len(about), 0))
        if not reading.restoring:
            log.info("Items are known by %s.", listed(told, 20))
        numbered = torch.from_numpy(values).float()
        names = [f"{name} {value}" for name, part in categories for value in part.values]
        return ItemFeatures(rows, offsets, size, of_trained, numbered, tuple(names), scales, cuts)

    def _chosen(self, about: pl.DataFrame, known: int) -> list[str]:
        there = [name for name in about.columns if name not in _BESIDE]
        for key, names in (("columns", self.columns or []), ("categories", self.categories)):
            for name in names:
                if name not in about.columns:
                    raise UserError(no_column("The catalogue", name, f"item.{key}", there))
        if self.columns is not None:
            return self.columns
        left = [name for name in there if _is_name(_typed(about[name], known), known)]
        chosen = [name for name in there if name not in left or name in self.categories]
        if not chosen:
            raise UserError(
                "item=features: the catalogue says nothing of items but "
                f"{listed(['ids', *left])}: name a table of items, data.catalogue=FILE, or of a "
                "run of clicks columns of its rows that speak of items, item.columns=[COLUMN,…]."
            )
        if left:
            log.info("item=features leaves out %s: most items have one of their own.", listed(left))
        return chosen


def offered(about: pl.DataFrame) -> dict[str, Kind]:
    """What :class:`Features` makes of the columns of a catalogue: a column of few whole numbers
    could stand for something, and is taken for categories here.
    """
    found: dict[str, Kind] = {}
    for name in about.columns:
        column = _typed(about[name], len(about))
        if _is_name(column, len(about)):
            found[name] = "name"
        elif _is_number(column):
            few = column.n_unique() <= _CODES and (column.drop_nulls() % 1 == 0).all()
            found[name] = "code" if few else "number"
        else:
            found[name] = "category"
    return found


class _Categories(NamedTuple):
    """Which categories items have: int64 [S] each, by item; ``values``: what they are called."""

    item: Ints
    category: Ints
    values: list[str]

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.values)


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype.is_temporal()


def _typed(column: pl.Series, known: int) -> pl.Series:
    """Text as numbers where that of the first ``known`` items is nothing else, as in a CSV."""
    own = column.head(known)
    if own.dtype != pl.String or cells.words(own).any() or np.isnan(cells.numbers(own)).all():
        return column
    return pl.Series(column.name, cells.numbers(column))


def _is_name(column: pl.Series, known: int) -> bool:
    """Whether a column of texts says something else of most of the first ``known`` items."""
    if column.dtype != pl.String:
        return False
    own = column.head(known)
    found = _values(own, known).explode().drop_nulls()
    return found.n_unique() > _NAMES * max(1, own.len() - own.null_count())


def _values(column: pl.Series, known: int) -> pl.Series:
    """The values of each item, List[String], without doubled ones; what parts them is told by the
    first ``known`` items, so that a new one changes nothing of others.
    """
    while isinstance(column.dtype, pl.List) and isinstance(column.dtype.inner, pl.List):
        column = column.list.eval(pl.element().explode())
    if isinstance(column.dtype, pl.List | pl.Array):
        return cells.lists(column, _PARTED[0])
    if column.dtype == pl.String:
        for sign in _PARTED:
            if column.head(known).str.contains(sign, literal=True).any():
                return cells.lists(column, sign)
    text = cells.text(column).to_frame("value")
    one = pl.concat_list("value").list.drop_nulls()
    return text.select(one).to_series()


def _categories(column: pl.Series, known: int, least: int) -> _Categories:
    """Of the values that ``least`` of the first ``known`` items have, in the order of the texts."""
    pairs = pl.DataFrame({"item": np.arange(len(column)), "value": _values(column, known)})
    pairs = pairs.explode("value").drop_nulls()
    counted = pairs.filter(pl.col("item") < known).group_by("value").len()
    kept = counted.filter(pl.col("len") >= least).select("value").sort("value")
    found = pairs.join(kept.with_row_index("category"), on="value", maintain_order="left")
    item, category = (found[name].to_numpy().astype(np.int64) for name in ("item", "category"))
    return _Categories(item, category, kept["value"].to_list())


def _edges(own: Floats, bins: int) -> Floats:
    """Where equally frequent bins of numbers are cut."""
    finite = own[np.isfinite(own)]
    return np.unique(np.quantile(finite, np.arange(1, bins) / bins)) if len(finite) else finite


def _binned(value: Floats, edges: Floats) -> pl.Series:
    """Numbers as categories, their bins; null where there is none."""
    place = pl.Series(np.searchsorted(edges, value, side="right"))
    return place.set(pl.Series(~np.isfinite(value)), None)


def _scale(own: Floats) -> tuple[float, float]:
    """The mean and standard deviation of numbers, 0 and 1 of none; 1 where all are alike."""
    finite = own[np.isfinite(own)]
    if not len(finite):
        return 0.0, 1.0
    with np.errstate(over="ignore"):
        mean, deviation = float(finite.mean()), float(finite.std())
    if not np.isfinite(mean) or not np.isfinite(deviation):  # their squares are beyond float64
        most = np.abs(finite).max()
        mean, deviation = (float(each * most) for each in _scale(finite / most))
    return mean, deviation or 1.0


def _flat(parts: Sequence[_Categories], size: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Rows of one table for several columns, as of :class:`ItemFeatures`, and its size."""
    starts = np.cumsum([0, *(part.size for part in parts)])
    if not parts:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1
    bag = np.concatenate([p.item * len(parts) + n for n, p in enumerate(parts)])
    row = np.concatenate([p.category + start for p, start in zip(parts, starts, strict=False)])
    order = np.argsort(bag, kind="stable")
    counts = np.bincount(bag, minlength=size * len(parts))
    offsets = np.concatenate([[0], counts.cumsum()])
    return torch.from_numpy(row[order]), torch.from_numpy(offsets), max(1, int(starts[-1]))
