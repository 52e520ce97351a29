"""What a model is compared with: distributions of its users' histories and of its answers.

They are made when a model is exported, by asking it for users of its own log, and kept in the
bundle; those of a run folder are made when they are asked for.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from lightning_rec.monitoring.bins import Distribution, categories, distribution, of_table, to_table
from lightning_rec.monitoring.observed import BAND_NAMES, UNTRAINED, Items, answers_of, observed
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.sequences import SequencePredictor

MONITOR, POPULARITY, HOURS = "monitor", "popularity", "hours"
USERS = 2000  # who are asked for


class Reference(NamedTuple):
    """known: by the name of a figure.  items: of a model of sequences.  users: whom it knows."""

    known: dict[str, Distribution]
    items: Items | None = None
    users: pl.Series | None = None


def tables_of(predictor: Predictor, hours: pl.DataFrame | None) -> dict[str, pl.DataFrame]:
    """The tables that a bundle keeps; none of a model that has nothing to be compared with."""
    if not isinstance(predictor, SequencePredictor) or predictor.users is None:
        return {}
    counts = _counts(predictor)
    found = observed(answers_of(predictor, USERS), Items.of(predictor.items, counts))
    known = {name: distribution(rows, bins_of(name)) for name, rows in found.items()}
    if hours is not None:
        known[HOURS] = _of_hours(hours)
    return {MONITOR: to_table(known), POPULARITY: pl.DataFrame({"count": counts})}


def reference_of(folder: Path, predictor: Predictor) -> Reference:
    """That of a bundle or a run folder: empty where it keeps none, and has no users."""
    kept = {name: _table(folder / f"{name}.parquet") for name in (MONITOR, POPULARITY, HOURS)}
    if kept[MONITOR] is None:
        kept |= tables_of(predictor, kept[HOURS])
    monitor, popularity = kept[MONITOR], kept[POPULARITY]
    known = {} if monitor is None else of_table(monitor)
    if not isinstance(predictor, SequencePredictor):
        return Reference(known)
    users = None if predictor.users is None else predictor.users["user"]
    counts = None if popularity is None else popularity["count"]
    return Reference(known, Items.of(predictor.items, counts), users)


def hours_of_log(user: np.ndarray, times: np.ndarray) -> pl.DataFrame | None:
    """``hour``, ``share`` (each user's events weigh 1) and ``users`` of events.

    ``user``: codes.  ``times``: seconds since 1970.  None where all are of one hour, as dates are.
    """
    hour = (np.asarray(times).astype(np.int64) // 3600) % 24
    if len(np.unique(hour)) < 2:
        return None
    events = pl.DataFrame({"user": np.asarray(user), "hour": hour})
    each = events.with_columns(weight=1 / pl.len().over("user"))
    users = each["user"].n_unique()
    found = each.group_by("hour").agg(share=pl.col("weight").sum() / users).sort("hour")
    return found.with_columns(users=pl.lit(users, pl.Int64))


def bins_of(name: str) -> Distribution | None:
    """The bins of figures that have the same for every model, without shares; else None."""
    if name != HOURS and not name.startswith("popularity of "):
        return None
    return categories([*map(str, range(24))] if name == HOURS else [*BAND_NAMES, UNTRAINED])


def _of_hours(hours: pl.DataFrame) -> Distribution:
    bins = bins_of(HOURS)
    assert bins
    shares = np.zeros(len(bins.bins))
    shares[hours["hour"].to_numpy()] = hours["share"].to_numpy()
    return bins._replace(shares=shares, units=int(hours["users"][0]))


def _counts(predictor: SequencePredictor) -> pl.Series:
    assert predictor.users is not None
    items = predictor.users["items"].explode().drop_nulls().to_numpy()
    return pl.Series(np.bincount(items, minlength=len(predictor.items)).astype(np.uint32))


def _table(path: Path) -> pl.DataFrame | None:
    return pl.read_parquet(path, glob=False) if path.is_file() else None
