"""A log as regular series: how much of each item in each day, week or month."""

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.features import COLUMNS, SEPARATORS, multi_hot
from lightning_rec.data.names import lacking
from lightning_rec.data.schema import Interactions
from lightning_rec.data.types import Floats, Ints
from lightning_rec.demand.periods import STEPS, Every, begins, periods
from lightning_rec.errors import UserError
from lightning_rec.rules.given import Moment

SEASONS = {"day": 7, "week": 52, "month": 12}
CELLS = 200_000_000  # of series by periods, eight bytes each
EMPTY = "(none)"  # the category of an item without one


@dataclass(frozen=True, eq=False)
class Demand:
    """Series of N items over T periods, all up to the same moment.

    Args:
        every: a day, week or month.
        starts: the first day of each period, T of them.
        keys: ids of the items [N], String; ``titles`` likewise, which may be the ids.
        counts: how much in each period, float64 [N, T]; 0 before an item's first sale.
        first: int64 [N], the period of the first sale; before it there is no series.
        group: int64 [N], the category of each; ``groups`` are their names.
        static: float32 [N, F], what is known of each item besides.
        idle: keys without anything in a whole period, String: no series are made of them.
        told: what was left out, in sentences.
    """

    every: Every
    starts: list[date]
    keys: pl.Series
    titles: pl.Series
    counts: Floats
    first: Ints
    group: Ints
    groups: list[str]
    static: NDArray[np.float32]
    idle: pl.Series = field(default_factory=lambda: pl.Series("key", [], pl.String))
    told: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all quantities are whole numbers."""
        return not (self.counts % 1).any()

    def until(self, origin: int, history: int, least: float) -> tuple["Demand", Ints]:
        """What is known at the beginning of period ``origin``, and the places of the items.

        Items without ``history`` periods since their first sale, or less than ``least`` in all of
        them, are left out: both are told by what was before, so that nothing is chosen by what
        comes. Nothing of the series after ``origin`` is in what is returned.
        """
        before = self.counts[:, :origin]
        kept = np.flatnonzero((self.first + history <= origin) & (before.sum(1) >= least))
        at = kept.tolist()
        cut = replace(
            self, starts=self.starts[:origin], keys=self.keys.gather(at),
            titles=self.titles.gather(at), counts=before[kept].copy(), first=self.first[kept],
            group=self.group[kept], static=self.static[kept], told=(),
        )  # fmt: skip
        return cut, kept

    def unforecast(self, history: int, least: float) -> pl.DataFrame:
        """``item``, ``title`` and ``note``, why it has no forecast at the end of the log, of each
        item without one: see :meth:`until`; ``idle`` ones come last.
        """
        young = self.first + history > len(self.starts)
        few = ~young & (self.counts.sum(1) < least)
        notes = {
            f"younger than history={history} {self.every}s": young,
            f"less than least={least:g} in all": few,
        }
        tables = [
            pl.DataFrame({"item": self.keys, "title": self.titles}).filter(pl.Series(which))
            .with_columns(note=pl.lit(note)) for note, which in notes.items()
        ]  # fmt: skip
        idle = pl.DataFrame({"item": self.idle}).with_columns(
            title=pl.lit(""), note=pl.lit(f"nothing in a whole {self.every}")
        )
        return pl.concat([*tables, idle])

    def later(self, steps: int) -> list[date]:
        """The first days of the periods after the last one."""
        last = pl.Series([self.starts[-1]])
        return [last.dt.offset_by(f"{n}{STEPS[self.every][1:]}")[0] for n in range(1, steps + 1)]


def demand_of(
    data: Interactions,
    every: Every,
    by: str = "item",
    category: str | None = None,
    quantity: str | None = None,
    until: Moment | None = None,
    since: Moment | None = None,
) -> Demand:
    """The series of a prepared log.

    Args:
        data: the log, with times.
        every: how long a period is.
        by: ``item``, or a column of the catalogue, whose first value of each item it is then by.
        category: the column of the catalogue above ``by``; None takes genres, categories or the
            like if there are any.
        quantity: a column of the log that is summed, not below 0; None counts events.
        until: a date up to and including which the log is whole, or a moment before which it is;
            None: nothing says that the period of the last event is, and it is left out.
        since: a date from which on the log is whole. None: the period of the first event is left
            out where it begins late, by what passes between events elsewhere.

    Raises UserError for a log without times, an unknown column, no whole period, or an ``until``
    that makes more than half of the log empty.
    """
    events = data.events
    schema = events.collect_schema()
    if "timestamp" not in schema:
        raise UserError("A forecast needs the time of each event: set data.time=COLUMN.")
    if quantity is not None and (quantity not in schema or not schema[quantity].is_numeric()):
        say = "data.rating=COLUMN of a table keeps a column of numbers, as quantity=rating"
        raise UserError(lacking("quantity=: the log", quantity, schema, say))
    items = data.items
    unit, groups = _units(items, by, category)
    step, value = STEPS[every], pl.col(quantity) if quantity else pl.lit(1.0)
    period = pl.from_epoch("timestamp", "s").dt.date().dt.truncate(step)
    rows = events.select(
        pl.lit(unit["unit"]).gather(pl.col("item")).alias("unit"),
        period.alias("period"), value.cast(pl.Float64).alias("value"),
    )  # fmt: skip
    sums = rows.group_by("unit", "period").agg(
        pl.col("value").sum(), pl.col("value").min().alias("least"), pl.len().alias("events")
    )
    table = sums.collect(engine="streaming")
    if not (table["least"] >= 0).all():
        raise UserError(f"quantity={quantity}: a quantity is 0 or more, and one here is not.")
    whole = begins(events, every, since)
    starts, told = periods(table, every, whole, until, since)
    table = table.filter(pl.col("period").is_in(starts) & (pl.col("value") > 0))
    told = (*data.info["notes"], *told)  # of rows that were dropped, and the like
    return _gridded(table, starts, items, unit, groups, every, by, told)


def _gridded(
    table: pl.DataFrame, starts: list[date], items: pl.DataFrame, unit: pl.DataFrame,
    groups: list[str], every: Every, by: str, told: tuple[str, ...],
) -> Demand:  # fmt: skip
    """Series of those that were ever sold, zero-filled."""
    sold = table["unit"].unique().sort()
    if len(sold) * len(starts) > CELLS:
        raise UserError(
            f"{len(sold):,} series of {len(starts):,} periods do not fit into memory: take longer "
            "periods (every=), or fewer events (data.keep=)."
        )
    place = pl.DataFrame({"unit": sold}).with_row_index("row")
    dates = pl.DataFrame({"period": starts}).with_row_index("column")
    cells = table.join(place, "unit").join(dates, "period")
    counts = np.zeros((len(sold), len(starts)))
    counts[cells["row"].to_numpy(), cells["column"].to_numpy()] = cells["value"].to_numpy()
    one = unit.with_row_index("code").unique("unit", keep="first").sort("unit")
    idle = one.filter(~pl.col("unit").is_in(sold.implode()))["key"]
    one = one.filter(pl.col("unit").is_in(sold.implode()))
    keys, codes = one["key"], one["code"]
    static = multi_hot(items, np.arange(len(items), dtype=np.int64)) if by == "item" else None
    width = np.zeros((len(items), 0), dtype=np.float32) if static is None else static
    named = by == "item" and "title" in items.columns
    titles = items["title"].gather(codes).cast(pl.String).fill_null("") if named else keys
    first = (counts > 0).argmax(1).astype(np.int64)
    return Demand(
        every, starts, keys, titles, counts, first, one["group"].to_numpy().astype(np.int64),
        groups, width[codes.to_numpy()], idle, told,
    )  # fmt: skip


def _units(items: pl.DataFrame, by: str, category: str | None) -> tuple[pl.DataFrame, list[str]]:
    """Of each item code: ``key`` and ``unit`` (what a series is of), ``group``; their names."""
    keys = items["item"] if by == "item" else first_value(items, by, "by")
    named = {name.lower(): name for name in items.columns}
    found = category or next((named[each] for each in COLUMNS if each in named), None)
    if found is None or found == by:
        groups = pl.Series("group", ["all"] * len(items))
    else:
        groups = first_value(items, found, "category")
    units = pl.DataFrame({"key": keys.cast(pl.String), "group": groups.cast(pl.String)})
    units = units.with_columns(unit=pl.col("key").rank("dense").cast(pl.Int64) - 1)
    if by != "item":  # what has several groups is put under the first
        units = units.with_columns(pl.col("group").first().over("unit"))
    names = units["group"].unique().sort().to_list()
    code = {name: place for place, name in enumerate(names)}
    return units.with_columns(pl.col("group").replace_strict(code, return_dtype=pl.Int64)), names


def first_value(items: pl.DataFrame, column: str, key: str) -> pl.Series:
    """The first value of a column of the catalogue for each item, text; ``(none)`` without any.

    Raises UserError if there is no such column.
    """
    if column not in items.columns:
        raise UserError(lacking(f"{key}=: the catalogue", column, items.columns))
    values = items[column]
    if values.dtype == pl.List(pl.String):
        values = values.list.first()
    elif values.dtype == pl.String:
        found = (sign for sign in SEPARATORS if values.str.contains(sign, literal=True).any())
        sign = next(found, None)
        values = values.str.split(sign).list.first().str.strip_chars() if sign else values
    values = values.cast(pl.String).fill_null(EMPTY)
    return pl.select(pl.when(values == "").then(pl.lit(EMPTY)).otherwise(values)).to_series()
