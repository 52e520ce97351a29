"""Frappe: which app somebody used in which context, with sampled apps that they did not use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import NonNegativeInt, PositiveInt

from lightning_rec.data.chance import bits
from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.public import PublicClicks
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError

FRAPPE = PublicData(
    name="frappe",
    title="Frappe",
    licence="research only, no redistribution",
    users=957,
    items=4_082,
    events=288_609,
    megabytes=3.3,
    folders=("frappe",),
    layouts=(Layout("logs", ("frappe.csv.gz",), ("meta.csv.gz",)),),
)


@dataclass(eq=False, kw_only=True)
class Frappe(PublicClicks):
    """Each log as a click, followed by rows of the same user and context that are no clicks.

    The apps of those are drawn uniformly from all apps that the user uses in no context, as in the
    paper of NFM (He and Chua, SIGIR 2017), whose own draw is not to be had as a whole. Columns:
    ``user``, ``item``, ``daytime``, ``weekday``, ``isweekend``, ``homework``, ``cost``,
    ``weather``, ``country``, ``city``, ``label``; ``cnt`` (how often) is left out, since it is not
    known beforehand.

    Args:
        negatives: rows drawn beside each log.
        seed: fixes the draw, which depends on it and on the place of a row alone.
    """

    public: ClassVar[PublicData] = FRAPPE

    negatives: PositiveInt = 2
    seed: NonNegativeInt = 2021

    def settings(self) -> dict[str, Any]:
        """How negatives are drawn."""
        return super().settings() | {"negatives": self.negatives, "seed": self.seed}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Each log with its negatives after it."""
        logs = pl.read_csv(files[0], separator="\t", glob=False).drop("cnt")
        user, item = logs["user"].to_numpy(), logs["item"].to_numpy()
        drawn = unused_items(user, item, self.negatives, self.seed)  # [N, negatives]
        shown = np.column_stack([item, drawn]).ravel()
        label = np.tile([1] + [0] * self.negatives, len(logs)).astype(np.int8)
        rows = logs.select(pl.all().repeat_by(1 + self.negatives).explode())
        return rows.with_columns(item=pl.Series(shown), label=pl.Series(label)).lazy()


def unused_items(user: Ints, item: Ints, number: int, seed: int) -> Ints:
    """Draw ``number`` items for each row that its user has in no row, uniformly: int64 [N, number],
    by ``seed``, place, and the tries before alone. Raises UserError if a user has all.
    """
    items, code = np.unique(item, return_inverse=True)
    used = np.unique(user * len(items) + code)
    greedy = np.flatnonzero(np.bincount(used // len(items)) == len(items))
    if len(greedy):
        raise UserError(f"User {greedy[0]} uses every item: there is none to draw as a negative.")
    owner = np.repeat(user, number)
    drawn = np.zeros(len(owner), dtype=np.int64)
    left = np.arange(len(owner))
    attempt = 0
    while len(left):
        words = bits(bits(seed, left), np.full(len(left), attempt))
        drawn[left] = (words % np.uint64(len(items))).astype(np.int64)
        pairs = owner[left] * len(items) + drawn[left]
        left = left[used[np.minimum(np.searchsorted(used, pairs), len(used) - 1)] == pairs]
        attempt += 1
    return items[drawn].reshape(-1, number)
