"""What a user is like, by his history: what he takes, how it drifts, how novel and active he is."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.data.numbers import only_numbers
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.rules.ready import values_of

MOST_VALUES = 100  # a column of more is no category
BANDS = 4  # numbers and dates of more values are told by quarters


@dataclass(frozen=True)
class Profile:
    """A user.

    name: whose it is.
    nearest: what the model finds next, history included: ``rank``, ``item``, ``title``, ``score``,
        ``had`` (whether it is in the history).
    shares: ``column``, ``value``, ``share`` of the history, ``everybody`` (of all events of the
        run's users), ``early`` and ``late`` (of the halves of the history; null for a half that
        has no value of the column, as the early one of a single event).
    drift: ``column``, ``drift``: half the sum of differences between early and late shares, from 0
        (the same) to 1 (nothing in common); null where a half has none.
    facts: ``fact``, ``user``, ``everybody``: events, items, repeats, and novelty (the mean of
        -log2 of an item's share of all events: bits), whose ``everybody`` are means over users.
    """

    name: str
    nearest: pl.DataFrame
    shares: pl.DataFrame
    drift: pl.DataFrame
    facts: pl.DataFrame


def profile(
    model: SequencePredictor,
    user: Any = None,
    history: Sequence[Any] | None = None,
    k: int = 10,
) -> Profile:
    """The profile of a user that the run knows, or of a history of raw ids.

    Raises UserError for an unknown user, a history without a known item, or neither.
    """
    if user is not None:
        codes = model.history_of(user)
        nearest = model.recommend(users=[user], k=min(k, len(model.items)), seen="keep")
    elif history is not None:
        codes = model.catalogue.codes(pl.Series("item", list(history), strict=False)).drop_nulls()
        nearest = model.recommend([history], k=min(k, len(model.items)), seen="keep")
    else:
        raise UserError("Say whose profile it is: user=ID or history=[ID,...].")
    if codes.is_empty():
        raise UserError("The history holds no item that this run knows: there is no profile.")
    had = model.items["item"].gather(codes).implode()
    nearest = nearest.drop(nearest.columns[0]).with_columns(had=pl.col("item").is_in(had))
    of = np.asarray(codes.to_numpy(), dtype=np.int64)
    shares = [_shares(model, name, of) for name in columns_of(model.items)]
    none = {"column": pl.String, "value": pl.String, "share": pl.Float64, "everybody": pl.Float64,
            "early": pl.Float64, "late": pl.Float64}  # fmt: skip
    table = pl.concat([pl.DataFrame(schema=none), *shares])
    apart = (pl.col("early") - pl.col("late")).abs().sum() / 2
    known = ~pl.any_horizontal(pl.col("early", "late").is_null().any())
    drift = table.group_by("column", maintain_order=True).agg(drift=pl.when(known).then(apart))
    return Profile("" if user is None else str(user), nearest, table, drift, _facts(model, of))


def columns_of(items: pl.DataFrame) -> list[str]:
    """Columns of a catalogue that shares can be of: categories, numbers and dates by quarters."""
    found = []
    for name in items.columns:
        if name in ("item", "title"):
            continue
        try:
            values = _valued(items, name)
        except pl.exceptions.PolarsError:
            continue
        if 1 < values.explode(empty_as_null=True, keep_nulls=True).n_unique() <= MOST_VALUES + 1:
            found.append(name)
    return found


def _valued(items: pl.DataFrame, name: str) -> pl.Series:
    """Values of a column, List[String]; numbers and dates of many values by quarters."""
    if (bands := _bands(items, name)) is None:
        return values_of(items, name, "profile")
    names, place = bands
    shown = place.replace_strict(dict(enumerate(names)), return_dtype=pl.String).to_frame(name)
    return shown.select(pl.concat_list(name).alias(name))[name]


def _bands(items: pl.DataFrame, name: str) -> tuple[list[str], pl.Series] | None:
    """Names of the quarters of a column of numbers or dates, ascending, and which of them each
    item is in; None for other columns, and for those of few values.
    """
    column = items[name]
    if column.dtype == pl.String:
        date = column.str.to_date("%Y-%m-%d", strict=False)
        if (read := only_numbers(column)) is not None:
            column = read
        elif date.count() and date.null_count() == column.null_count():
            column = date
    dated = column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration)
    if not (dated or column.dtype.is_numeric()) or column.n_unique() <= BANDS:
        return None
    numbers = (column.cast(pl.Date).to_physical() if dated else column).cast(pl.Float64)
    numbers = numbers.fill_nan(None)
    cuts = [float(numbers.quantile(share) or 0.0) for share in (0.25, 0.5, 0.75)]
    if dated:
        told = [str(datetime.date(1970, 1, 1) + datetime.timedelta(days=cut)) for cut in cuts]
    else:
        told = [f"{cut:g}" for cut in cuts]
    names = [f"up to {told[0]}", *(f"{a} to {b}" for a, b in pairwise(told)), f"above {told[2]}"]
    place = np.searchsorted(np.array(cuts), numbers.fill_null(0).to_numpy(), side="left")
    places = pl.Series(name, place)
    return names, pl.select(pl.when(numbers.is_not_null()).then(places)).to_series()


def _shares(model: SequencePredictor, name: str, of: np.ndarray) -> pl.DataFrame:
    """Shares of each value; an event of several values is parted among them."""
    values = pl.DataFrame([_valued(model.items, name).alias("value")]).with_row_index("code")
    values = values.explode("value", empty_as_null=True, keep_nulls=True).drop_nulls()
    values = values.with_columns(part=1.0 / pl.len().over("code"))
    half = len(of) // 2
    counted = {"share": of, "early": of[:half], "late": of[half:]}
    weights = {"everybody": model.events.astype(float)}
    weights |= {key: np.bincount(own, minlength=len(model.items)) for key, own in counted.items()}
    table = values
    for key, weight in weights.items():
        table = table.with_columns(
            pl.Series(key, weight[values["code"].to_numpy()]) * values["part"]
        )
    summed = table.group_by("value", maintain_order=True).agg(pl.col(*weights).sum())
    total = [
        pl.col(key) / pl.when(pl.col(key).sum() > 0).then(pl.col(key).sum()) for key in weights
    ]
    summed = summed.with_columns(total).with_columns(pl.col("share", "everybody").fill_null(0.0))
    summed = summed.filter((pl.col("share") > 0) | (pl.col("everybody") > 0))
    if (bands := _bands(model.items, name)) is not None:
        summed = summed.sort(pl.col("value").replace_strict({n: i for i, n in enumerate(bands[0])}))
    else:
        summed = summed.sort("share", "everybody", descending=True, maintain_order=True)
    order = ("value", "share", "everybody", "early", "late")
    return summed.select(pl.lit(name).alias("column"), *order)


def _facts(model: SequencePredictor, of: np.ndarray) -> pl.DataFrame:
    """Activity and novelty, beside those of all users that the run keeps."""
    events = model.events
    total = max(1, int(events.sum()))
    bits = -np.log2(np.maximum(events, 1) / total)
    own = [float(len(of)), float(len(np.unique(of))), 1 - len(np.unique(of)) / len(of),
           float(bits[of].mean())]  # fmt: skip
    everybody: list[float | None] = [None] * 4
    if model.users is not None:
        lists = model.users.select(pl.col("items").alias("own")).filter(
            pl.col("own").list.len() > 0
        )
        number, unique = lists["own"].list.len(), lists["own"].list.n_unique()
        flat = lists.with_row_index("row").explode("own", empty_as_null=True, keep_nulls=True)
        novelty = flat.with_columns(pl.Series("bits", bits[flat["own"].to_numpy()]))
        mean = novelty.group_by("row").agg(pl.col("bits").mean())["bits"].mean()
        means: Any = [number.mean(), unique.mean(), (1 - unique / number).mean(), mean]
        everybody = [None if each is None else float(each) for each in means]
        less: Any = (number < len(of)).mean()
        own.append(float(less))
        everybody.append(0.5)
    names = ["events", "items", "repeats", "novelty", "more active than"][: len(own)]
    return pl.DataFrame({"fact": names, "user": own, "everybody": everybody})
