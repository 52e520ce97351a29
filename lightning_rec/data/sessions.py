"""The protocol of sessions: a session is the unit, and belongs to one part by the time it ends."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, NonNegativeInt, PositiveInt

from lightning_rec.data.arrays import Cold, Targets
from lightning_rec.data.cuts import Cut, boundaries, settle, told_cuts
from lightning_rec.data.dates import duration
from lightning_rec.data.filters import Ordered
from lightning_rec.data.kept import kept
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions, ticks
from lightning_rec.data.split import Seen, Split
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError
from lightning_rec.files import write_json

_FORMAT = 2  # of a log cut into sessions


@dataclass(frozen=True)
class Sessions(SplitProtocol):
    """Sessions that end before ``val_from`` train, those before ``test_from`` validate, then test.

    As GRU4Rec (Hidasi et al., ICLR 2016), NARM (Li et al., CIKM 2017) and SR-GNN (Wu et al., AAAI
    2019) split: no session is in two parts, each next item of a test session is a target, all
    items are candidates, and a target without training events is left out. Their filters are
    ``user_core=2`` and ``item_core=5``, where a user is a session.

    Args:
        gap: pause that ends a session: seconds, or a number with a unit, as ``30m``, ``12h``,
            ``1d``. None takes the sessions that the data names (``data.session``).
        val_from: where validation begins: a quantile of the times at which sessions end, or a
            date. A session that ends at the very moment lies after it. None, with ``test_from``
            None as well, takes the parts that the data came in (``data.test``).
        test_from: likewise, where test begins.
        targets: of a session, ``all`` items but the first, each with all before it as history, or
            the ``last`` alone.

    Raises UserError if validation would begin after test, or a cut or the gap cannot be read.
    """

    user_core: NonNegativeInt = 2
    cutoffs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (5, 10, 20)
    seen: Seen = "keep"
    cold_targets: Cold = "exclude"
    gap: float | str | None = None
    val_from: Cut | None = 0.8
    test_from: Cut | None = 0.9
    targets: Literal["all", "last"] = "all"

    name: ClassVar[str] = "sessions"
    known_users: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.val_from is None) != (self.test_from is None):
            raise UserError(
                f"protocol.val_from={self.val_from} test_from={self.test_from}: both are null, "
                "where the data came split, or neither."
            )
        if not self.given:
            settle(self)
        if self.gap is not None:
            object.__setattr__(self, "gap", duration("protocol.gap", self.gap, bare=True))

    @property
    def given(self) -> bool:
        """Whether it takes the parts that the data came in."""
        return self.val_from is None

    def view(self, data: Interactions) -> Interactions:
        """The log with sessions for users. Raises UserError if there are none, or no times."""
        named = data.info["settings"].get("session")
        if self.gap is None:
            if named is None:
                raise UserError(
                    f"protocol=sessions: nothing says what a session is in {data.info['name']}. "
                    "Name the column that holds sessions, data.session=COLUMN, or the pause that "
                    "ends one, protocol.gap=30m."
                )
            return data
        if named is not None:
            raise UserError(
                f"data.session={named} names the sessions and protocol.gap cuts them: drop one."
            )
        if data.info["first_timestamp"] is None:
            raise UserError(
                f"protocol.gap needs the time of each event and {data.info['name']} has none: set "
                "data.time to the column that holds it, or data.session to one of sessions."
            )
        folder = data.folder.with_name(f"{data.folder.name}-sessions{_FORMAT}-{self.gap:g}s")
        gap = self.gap
        return Interactions(kept(folder, lambda made: cut_sessions(data, float(gap), made)))

    def shortfall(self, split: Split) -> str:
        """Sessions of two items that end after a cut."""
        told = "A session needs an item before its target that is in training"
        if self.given:
            return f"{told}."
        return (
            f"{told}, and belongs where its end lies: {told_cuts(split)}. Move the cuts, or "
            "lower what protocol asks for."
        )

    def choose(self, events: Ordered) -> Targets:
        """Deal whole sessions by their ends, or as they came. Raises UserError without times."""
        place, length = events.places()
        asked = events.target & (place > 0)
        if self.targets == "last":
            asked &= events.targets_after() == 0
        if events.part is not None:
            return self._as_given(events, events.part, asked)
        if events.time is None:
            raise UserError(
                "protocol=sessions splits by time and this data has none: set data.time to the "
                "column that holds it."
            )
        assert self.val_from is not None
        assert self.test_from is not None
        ends = events.time[np.arange(len(place)) + length - 1 - place]  # of each event's session
        cuts, once = (self.val_from, self.test_from), place == 0
        val_from, test_from = boundaries(*cuts, ends[once])
        val = self.validated(events, asked & (ends >= val_from) & (ends < test_from))
        test: Mask = asked & (ends >= test_from)
        return Targets(ends < val_from, val, test, (val_from, test_from), whole=True)

    def _as_given(self, events: Ordered, part: Ints, asked: Mask) -> Targets:
        """Sessions in the parts they came in. Raises UserError where one is in two of them."""
        user, of = events.user[part >= 0], part[part >= 0]
        torn = np.unique(user[1:][(np.diff(of) != 0) & (np.diff(user) == 0)])
        if len(torn):
            raise UserError(
                f"{len(torn):,} sessions have events in two of the files that the data came in: "
                "give each session to one of them, or say protocol=given, which lets a user's "
                "events lie in all."
            )
        val = self.validated(events, asked & (part == 1))
        return Targets(part == 0, val, asked & (part == 2), None, order="part", whole=True)


def cut_sessions(data: Interactions, gap: float, folder: Path) -> None:
    """Write the log again, with the sessions of each user, which a pause above ``gap`` seconds
    ends, for users: named ``u / 1``, in order of first appearance, their user in ``visitor``.
    """
    tick, per_second = ticks(data.events)
    pause = round(gap * per_second, 3)
    frame = data.events.select("user", tick.alias("tick")).with_row_index("row").collect()
    begins = (pl.col("user").diff() != 0) | (pl.col("tick").diff() > pause)
    frame = frame.sort("user", "tick", "row")
    frame = frame.with_columns(session=begins.fill_null(True).cum_sum())
    first = (pl.col("user").first(), pl.col("row").min())
    sessions = frame.group_by("session", maintain_order=True).agg(first)
    sessions = sessions.with_columns(number=pl.int_range(1, pl.len() + 1).over("user"))
    sessions = sessions.sort("row").with_columns(code=pl.int_range(pl.len(), dtype=pl.Int32))
    code = frame.join(sessions.select("session", "code"), on="session").sort("row")["code"]
    events = data.events.rename({"user": "visitor"}).with_columns(code.alias("user"))
    names = data.users["user"].gather(sessions["user"])
    users = pl.DataFrame({"visitor": names, "number": sessions["number"]})
    name = pl.col("visitor").str.replace_all("/", "//", literal=True)  # so no two names are one
    users = users.select(pl.format("{} / {}", name, "number").alias("user"), "visitor")
    others = [column for column in events.collect_schema().names() if column != "user"]
    events.select("user", *others).sink_parquet(folder / "interactions.parquet")
    users.write_parquet(folder / "users.parquet")
    shutil.copyfile(data.folder / "items.parquet", folder / "items.parquet")
    facts = {"gap": gap, "users": data.info["users"]}
    write_json(folder / "info.json", {**data.info, "users": len(users), "sessions": facts})
