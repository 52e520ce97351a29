"""What a log of requests tells of a model of sequences, as a unit and a value for each figure."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import polars as pl

from lightning_rec.monitoring.bins import UNKNOWN
from lightning_rec.predict.sequences import SequencePredictor

LATEST = 10  # items of a history that a log names
BANDS = 10
BAND_NAMES = [f"tenth {number}" for number in range(1, BANDS + 1)]
BAND_NAMES[0] += " (most popular)"
BAND_NAMES[-1] += " (rarest)"
UNTRAINED = "never in training"
WIDEST = 200  # values of a column that is watched


class Items(NamedTuple):
    """``item``, ``band`` (by how popular it was), and columns of its categories (List[String])."""

    table: pl.DataFrame

    @classmethod
    def of(cls, items: pl.DataFrame, counts: pl.Series | None) -> Self:
        """``items``: the catalogue.  ``counts``: events of each that the model knew, or None."""
        bands = pl.Series([None] * len(items), dtype=pl.String)
        if counts is not None:
            bands = _bands(counts.to_numpy().astype(np.float64))
        kept = [items["item"], bands.alias("band")]
        for name, kind in items.schema.items():
            if name in ("item", "title", "code") or kind not in (pl.String, pl.List(pl.String)):
                continue
            column = items[name]
            lists = column if kind == pl.List(pl.String) else column.reshape((-1, 1)).arr.to_list()
            if 1 < lists.explode().drop_nulls().n_unique() <= WIDEST:
                kept.append(lists.alias(name))
        return cls(pl.DataFrame(kept))

    @property
    def categories(self) -> list[str]:
        """The columns of categories."""
        return self.table.columns[2:]


def _bands(counts: np.ndarray) -> pl.Series:
    """Tenths of all events, from the most popular items to the rarest."""
    order = np.argsort(-counts, kind="stable")
    before = np.zeros(len(counts))
    before[order] = np.concatenate([[0.0], np.cumsum(counts[order])[:-1]])
    tenth = np.minimum((BANDS * before / max(1.0, counts.sum()) + 1e-9).astype(int), BANDS - 1)
    bands = pl.Series(BAND_NAMES).gather(tenth.tolist())
    return bands.set(pl.Series(counts == 0), UNTRAINED)


def observed(lines: pl.DataFrame, items: Items) -> dict[str, pl.DataFrame]:
    """``unit`` and ``value`` of each figure, in the order of time.

    ``lines``: of answers, ``unit``, ``history`` (the latest ids), ``length``, ``items``,
    ``scores``, each null where it is not known.
    """
    found = dict(
        _of_items(lines.select("unit", item="history").explode("item"), items, "histories")
    )
    first = lines.select("unit", item=pl.col("items").list.first())
    found |= dict(_of_items(first.drop_nulls("item"), items, "first items"))
    plain = {
        "length of histories": pl.col("length"),
        "best scores": pl.col("scores").list.first(),
        "repeats": pl.when(pl.col("history").list.contains(pl.col("items").list.first()))
        .then(pl.lit("first item is in the history"))
        .otherwise(pl.lit("it is not")),
    }
    empty = pl.col("items").list.len() == 0
    for name, value in plain.items():
        rows = lines if name == "length of histories" else lines.filter(empty.not_())
        rows = rows.filter(pl.col("history").is_not_null()) if name == "repeats" else rows
        found[name] = rows.select("unit", value=value).drop_nulls("value")
    return {name: rows for name, rows in found.items() if len(rows)}


def events_of(lines: pl.DataFrame, items: Items) -> dict[str, pl.DataFrame]:
    """The same of what users did: ``unit`` and ``items`` of each event."""
    rows = lines.select("unit", item="items").explode("item")
    return {name: of for name, of in _of_items(rows, items, "events") if len(of)}


def _of_items(rows: pl.DataFrame, items: Items, what: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Popularity and categories of ``unit`` and ``item``."""
    known = rows.drop_nulls("item").join(
        items.table.with_columns(known=True), "item", "left", maintain_order="left"
    )
    if items.table["band"].null_count() < len(items.table):
        band = pl.when("known").then("band").otherwise(pl.lit(UNKNOWN))
        yield f"popularity of {what}", known.select("unit", value=band)
    for name in items.categories:
        of = known.filter("known").select("unit", value=name)
        yield f"{name} of {what}", of.explode("value")


def hours_of(lines: pl.DataFrame) -> pl.DataFrame:
    """``unit`` and the hour of the day, UTC, of each line with ``time`` (Datetime)."""
    return lines.select("unit", value=pl.col("time").dt.hour().cast(pl.String))


def answers_of(predictor: SequencePredictor, most: int) -> pl.DataFrame:
    """Lines of answers for ``most`` users whom the model knows, spread over them, as served."""
    users = predictor.users
    assert users is not None
    users = users.filter(pl.col("items").list.len() > 0)
    chosen = np.unique(np.linspace(0, max(0, len(users) - 1), min(most, len(users))).astype(int))
    users = users[chosen.tolist()]
    ids = predictor.items["item"]
    latest = users.select("user", pl.col("items").list.tail(LATEST)).explode("items")
    latest = latest.select("user", history=ids.gather(latest["items"]))
    latest = latest.group_by("user", maintain_order=True).agg("history")
    k = min(LATEST, len(ids))
    answers = predictor.recommend(users=users["user"].to_list(), k=k) if len(users) else None
    told = users.select("user", length=pl.col("items").list.len()).join(latest, "user", "left")
    if answers is None:
        return told.clear()
    lists = answers.group_by("user", maintain_order=True).agg(items="item", scores="score")
    told = told.join(lists, "user", "left", maintain_order="left")
    return told.rename({"user": "unit"})
