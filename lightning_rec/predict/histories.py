"""Histories of raw ids, as lists or frames, as what a predictor is asked."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from lightning_rec.data.lists import lists as read_lists
from lightning_rec.errors import UserError
from lightning_rec.predict.asking import Asked, Catalogue, Histories, cut, each_of, frame, series
from lightning_rec.predict.told import Told


def events_of(histories: Histories, more: Sequence[str] = ()) -> pl.DataFrame:
    """Whose (``user`` or ``row``), and ``item``: a row for each event, in order, with those of the
    columns ``more`` that are given.

    A history without events is a row without an item. Raises UserError for times that are text.
    """
    if hasattr(histories, "columns") or hasattr(histories, "keys"):
        events = frame(histories, "user", "item")
        more = [name for name in more if name in events.columns]
        if "time" in events.columns:
            if not (events["time"].dtype.is_numeric() or events["time"].dtype.is_temporal()):
                raise UserError(
                    f"The column 'time' holds {events['time'].dtype}, whose order may not be that "
                    "of time: make it numbers or dates, or leave it out and order the rows."
                )
            numbers = events["time"].to_physical().cast(pl.Float64)
            if (missing := numbers.fill_nan(None).is_null()).any():
                raise UserError(
                    f"The column 'time' is empty in row {missing.arg_max()}: when was that event?"
                )
            events = events.sort("time", maintain_order=True)
            return events.select("user", "item", *more, time=seconds_of(events["time"]))
        return events.select("user", "item", *more)
    lists = [each_of("histories", each) for each in each_of("histories", histories)]
    row = np.repeat(np.arange(len(lists), dtype=np.uint32), [len(each) for each in lists])
    flat = [item for each in lists for item in each]
    events = pl.DataFrame({"row": row, "item": series("item", flat)})
    every = pl.DataFrame({"row": np.arange(len(lists), dtype=np.uint32)})  # empty ones, too
    return every.join(events, "row", "left", maintain_order="left")


def asked_of(histories: Histories, catalogue: Catalogue, told: Told) -> Asked:
    """What is asked by histories of raw ids; items that are not known are passed over and told."""
    return asked_with(histories, catalogue, told, ())[0]


def asked_with(
    histories: Histories, catalogue: Catalogue, told: Told, more: Sequence[str]
) -> tuple[Asked, pl.DataFrame]:
    """What is asked by histories of raw ids, and those of the columns ``more`` that are given, in
    the order of the items; items that are not known are passed over and told.
    """
    keys = None
    if hasattr(histories, "columns") and "history" in histories.columns:
        given = frame(histories, "user", "history")
        keys, lists = given["user"], given["history"]
        if lists.dtype == pl.String:
            lists = given.select(read_lists(pl.col("history"), lists.dtype))["history"]
        if not isinstance(lists.dtype, pl.List | pl.Array) or lists.dtype.inner == pl.List:
            raise UserError(f"The column 'history' holds {lists.dtype}, and no lists of ids.")
        lists = lists.fill_null([]).alias("item")
        rows = pl.DataFrame([lists]).with_row_index("row")
        events = rows.explode("item", empty_as_null=True, keep_nulls=True)
    else:
        events = events_of(histories, more)
    found = events.with_columns(catalogue.codes(events["item"]))
    key, named = events.columns[0], found.drop_nulls("item")
    told.items += len(named)
    if unknown := named["code"].null_count():
        told.unknown_items += unknown
        told.keep("items", named.filter(pl.col("code").is_null())["item"])
    beside = [name for name in found.columns if name not in (key, "item", "code")]
    known = [pl.col(name).filter(pl.col("code").is_not_null()) for name in beside]
    asked = found.group_by(key, maintain_order=True).agg(pl.col("code").drop_nulls(), *known)
    nobody = np.full(len(asked), -1)
    times = asked["time"] if "time" in beside else None
    flat = {
        name: asked[name].explode(empty_as_null=False, keep_nulls=False)
        for name in beside
        if name != "time"
    }
    answer = cut(asked[key] if keys is None else keys, asked["code"], nobody, times)
    return answer, pl.DataFrame(flat)


def seconds_of(times: pl.Series) -> pl.Series:
    """Whole seconds since 1970, Int64: of dates and moments, or of numbers that are such."""
    if times.dtype in (pl.Date, pl.Datetime):
        return times.dt.epoch("s")
    return times.to_physical().cast(pl.Float64).floor().cast(pl.Int64, strict=False).fill_null(0)
