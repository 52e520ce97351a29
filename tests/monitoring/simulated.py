"""Logs of requests of a shop whose truth is known: 400 items, categories, users of two kinds."""

from typing import Any

import numpy as np
import polars as pl

from lightning_rec.monitoring.bins import distribution
from lightning_rec.monitoring.observed import LATEST, Items
from lightning_rec.monitoring.reference import HOURS, Reference, bins_of
from lightning_rec.monitoring.requests import Watching, observed_in, of_units

ITEMS, KINDS = 400, ["shoes", "shirts", "hats", "coats", "socks"]
IDS = np.array([f"i{item:03d}" for item in range(ITEMS)])
WEIGHT = 1 / (10 + np.arange(ITEMS))
WEIGHT /= WEIGHT.sum()
OF = np.arange(ITEMS) % len(KINDS)
TABLE = pl.DataFrame({"item": IDS, "kind": [KINDS[of] for of in OF]})
DAY = 12.0, 4.0  # when in the day requests are, mean and deviation


def log_of(seed: int, users: int = 300, start: str = "2026-11-02", **broken: Any) -> pl.DataFrame:
    """Lines as ``serve`` writes them, of one day; each user asks one to five times.

    ``broken``: ``dead``, a kind that no history has; ``renamed``, a prefix of ids; ``hours``, by
    which clocks are ahead; ``stuck``, the score of every answer; ``empty``: histories are empty.
    """
    chance = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for user in range(users):
        weight = WEIGHT * (KINDS.index(broken["dead"]) != OF) if "dead" in broken else WEIGHT
        liked = np.where(user % len(KINDS) == OF, 4.0, 1.0)
        taste, shown = liked * weight, liked * WEIGHT
        length = 1 + int(chance.poisson(12))
        history = chance.choice(ITEMS, min(LATEST, length), p=taste / taste.sum())
        for _ in range(1 + int(chance.integers(5))):
            hour = (chance.normal(*DAY) + broken.get("hours", 0)) % 24
            seconds = round(3600 * hour) % 86400
            score = np.sort(chance.normal(5, 1, 5))[::-1]
            names = [broken.get("renamed", "") + name for name in IDS[history]]
            rows.append(
                {
                    "at": f"{start}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z",
                    "id": f"{user}-{len(rows)}", "path": "/recommend", "status": 200, "k": 5,
                    "ms": float(chance.gamma(4, 2)), "user": f"u{user}", "model": "m1",
                    "items": IDS[chance.choice(ITEMS, 5, replace=False, p=shown / shown.sum())].tolist(),
                    "scores": [broken["stuck"]] * 5 if "stuck" in broken else score.tolist(),
                    "history": [] if broken.get("empty") else names,
                    "length": 0 if broken.get("empty") else length,
                }
            )  # fmt: skip
    schema = {"experiment": pl.String, "code": pl.String}
    lists = pl.col("history").cast(pl.List(pl.String))
    nothing = [pl.lit(None, kind).alias(name) for name, kind in schema.items()]
    made = pl.DataFrame(rows).with_columns(lists, *nothing)
    time = pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    made = made.with_columns(time=time).sort("at", maintain_order=True)
    return of_units(made.with_row_index("order"))


def reference_of_log(lines: pl.DataFrame) -> Reference:
    """What training would have kept of such users."""
    items = Items.of(TABLE, pl.Series(np.round(WEIGHT * 20_000).astype(int)))
    empty = Reference({}, items, None)
    found = observed_in(lines, empty, Watching())
    assert HOURS in found
    return empty._replace(known={n: distribution(rows, bins_of(n)) for n, rows in found.items()})
