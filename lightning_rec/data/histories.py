"""Rows of a history and the item that followed it, as sequences of events."""

import logging

import polars as pl

from lightning_rec.data.shares import PARTS

log = logging.getLogger(__name__)

SHOWN = -1  # the part of an event that only shows what was before
_SIGN = "\x1f"  # parts the ids of a sequence, where sequences are compared


def sequences(rows: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    """One sequence of events, ``user``, ``item`` String and ``part`` Int8, for each row of
    ``user``, ``history`` List[String] and ``item`` by part. Training is trained on whole, unless a
    longer row of the user begins so; of other rows the item is a target and the history only shown.
    Where a user has several rows, a sequence is called ``u / 1``.
    """
    marked = [
        frame.select("user", "item", "history", pl.lit(PARTS.index(part), pl.Int8).alias("part"))
        for part, frame in rows.items()
    ]
    table = _longest(pl.concat(marked).collect())
    if table["user"].is_duplicated().any():  # a slash in a user's id is doubled: no two are one
        user = pl.col("user").str.replace_all("/", "//", literal=True)
        number = pl.int_range(1, pl.len() + 1).over("user")
        table = table.with_columns(user=pl.format("{} / {}", user, number))
    item, before = pl.concat_list("history", "item"), pl.col("history").list.len()
    shown = pl.concat_list(pl.lit(SHOWN, pl.Int8).repeat_by(before), "part")
    part = pl.when(pl.col("part") == 0).then(pl.col("part").repeat_by(before + 1)).otherwise(shown)
    events = table.lazy().select("user", item.alias("item"), part.alias("part"))
    events = events.explode("item", "part").filter(pl.col("item").is_not_null())
    return events if len(rows) > 1 else events.drop("part")


def _longest(table: pl.DataFrame) -> pl.DataFrame:
    """Leave out training rows that are the beginning of another one of their user."""
    whole = pl.concat_list("history", "item").list.join(_SIGN) + _SIGN
    train = table.with_row_index("row").filter(pl.col("part") == 0)
    train = train.select("row", "user", whole.alias("whole")).sort("user", "whole", "row")
    begins = pl.col("whole").shift(-1).str.starts_with(pl.col("whole"))
    same = pl.col("user") == pl.col("user").shift(-1)
    short = train.filter((begins & same).fill_null(False))
    if len(short):
        log.warning(
            "%s of %s rows to train on are how a longer one of the same user begins: the longest "
            "alone are kept.", f"{len(short):,}", f"{len(train):,}",
        )  # fmt: skip
    return table.with_row_index("row").join(short, on="row", how="anti").drop("row")
