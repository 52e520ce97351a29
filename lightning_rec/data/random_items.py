"""The protocol of logs without times: each user's items are split at random."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from lightning_rec.data.arrays import Targets
from lightning_rec.data.chance import bits
from lightning_rec.data.filters import Ordered
from lightning_rec.data.kept import kept
from lightning_rec.data.prepare import catalogue_hash, data_hash
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import TIMED, Interactions
from lightning_rec.data.shares import RandomShares
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.ranges import BelowOne

_FORMAT = 1  # of a log in the order of its ids
_SLACK = 1e-9  # 0.29 * 100 is 28.999999999999996, and 29 is meant


@dataclass(frozen=True)
class RandomItems(RandomShares, SplitProtocol):
    """Of each user's items a share at random is tested, a share validates, the rest trains.

    What RecBole calls a ratio-based split in random order, grouped by user. All events of a user
    with one item go together; a held-out one is one target, whose history is what the user trains
    on (in the test what validates too), and never another target. Shares are rounded down, but a
    user of two items or more has one in the test, and of three or more one that validates.

    The draw depends on ``seed`` and on the ids of user and item among all ids of the data. The
    order of the rows plays no part in it, nor in the hash of the data and the codes of the ids.

    ``val``, ``test`` and ``seed``: see :class:`lightning_rec.data.shares.RandomShares`.
    """

    val: BelowOne = 0.1
    test: BelowOne = 0.1

    name: ClassVar[str] = "random_items"
    ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        SplitProtocol.__post_init__(self)
        if self.behavior is not None:
            raise UserError(
                "protocol=random_items deals each user's items at random, so that nothing comes "
                "before a target event: use protocol=leave_one_out or temporal, or keep these "
                "events alone, data.keep={COLUMN: [VALUE]}."
            )
        RandomShares.__post_init__(self)

    @property
    def validates(self) -> bool:
        """Whether there are to be validation targets."""
        return self.val > 0 and self.val_users != 0

    def shortfall(self, split: Split) -> str:
        """Two items, or three."""
        return (
            "A user needs two different items to be tested, and three to validate as well, which "
            "protocol.val=0 goes without. Loosen the filters."
        )

    def view(self, data: Interactions) -> Interactions:
        """The log in the order of its ids."""
        folder = data.folder.with_name(f"{data.folder.name}-by_id{_FORMAT}")
        return Interactions(kept(folder, lambda made: write_by_id(data, made)))

    def arranged(self, data: Interactions, events: Ordered) -> Ordered:
        """Each user's items in random order, events with one item together."""
        user, item = (  # the place of each code's id in the order of all ids
            ids.rank("ordinal").cast(pl.Int64).to_numpy() - 1
            for ids in (data.users["user"], data.items["item"])
        )
        word = bits(bits(self.seed, user[events.user]), item[events.item])
        return events.taken(np.lexsort((events.item, word, events.user)))

    def choose(self, events: Ordered) -> Targets:
        """Mark the last items of each user's random order for the test, those before validate."""
        first = np.append(True, (np.diff(events.user) != 0) | (np.diff(events.item) != 0))
        alone = events.taken(np.flatnonzero(first))  # each user's items once
        place, length = alone.places()
        tested = np.maximum((self.test * length + _SLACK).astype(np.int64), length > 1)
        held = (self.val * length + _SLACK).astype(np.int64)
        held = np.maximum(held, (length - tested > 1) & (self.val > 0))
        part = (place >= length - tested - held).astype(np.int8) + (place >= length - tested)
        of_event = part[np.cumsum(first) - 1]
        val = self.validated(events, first & (of_event == 1))
        test = first & (of_event == 2)
        return Targets(of_event == 0, val, test, None, "none", of_event.astype(np.int64))


def write_by_id(data: Interactions, folder: Path) -> None:
    """Write the log again, rows and codes in the order of ids, items without events last."""
    events, tables = data.events, {}
    for key, table in (("user", data.users), ("item", data.items)):
        used = events.select(pl.col(key).unique()).collect().to_series()
        table = table.with_row_index("before").with_columns(pl.col("before").cast(pl.Int32))
        table = table.sort(~pl.col("before").is_in(used.implode()), key)
        code = table["before"].arg_sort().cast(pl.Int32)  # of what had this code before
        events = events.with_columns(pl.lit(code).gather(pl.col(key)).alias(key))
        tables[key] = table.drop("before")
        tables[key].write_parquet(folder / f"{key}s.parquet")
    columns = data.events.collect_schema().names()
    compared = [name for name in (*TIMED, "rating", "part") if name in columns]
    events = events.select(columns).sort("user", "item", *compared)
    events.sink_parquet(folder / "interactions.parquet")
    known = {**data.info, "data_hash": data_hash(Interactions(folder))}
    write_json(folder / "info.json", {**known, "catalogue_hash": catalogue_hash(tables["item"])})
