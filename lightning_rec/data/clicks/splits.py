"""Protocols of clicks: which rows train, which choose the best epoch, which are tested.

As for sequences, a protocol has a hash, and figures with different hashes do not compare.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.columns import Faults, codes
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import PART, TIME, ClickTable
from lightning_rec.data.core.audited import ROWS, OnFinding
from lightning_rec.data.cuts import Cut, boundaries, seconds, settle, settle_dates
from lightning_rec.data.shares import PARTS, Hashed, RandomShares
from lightning_rec.data.times import divisor, raw_time, remedy
from lightning_rec.data.types import Floats
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.ranges import BelowOne


class SplitAssignment(NamedTuple):
    """The place in ``PARTS`` of each row, -1 for none, int8 [N], and the times where a temporal
    split is cut.
    """

    part: NDArray[np.int8]
    boundaries: tuple[float, float] | None = None


@dataclass(frozen=True)
class RowProtocol(Hashed, ABC):
    """A way to assign rows to training, validation and test.

    Args:
        audit: what becomes of leaks and the like that the audit finds in the table: ``warn`` tells
            them, ``error`` refuses to train. No part of the hash: figures are the same.
        accept: names of columns (or ``rows``) whose findings are as they should be. They stand on
            the card, and are neither told nor refused.
    """

    kind: ClassVar[str] = "clicks"

    audit: OnFinding = field(default="warn", kw_only=True)
    accept: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def validates(self) -> bool:
        """Whether there is to be a validation part."""
        return True

    def settings(self) -> dict[str, Any]:
        """All settings that say which rows are for what."""
        found = super().settings()
        return {key: value for key, value in found.items() if key not in ("audit", "accept")}

    def disjoint_column(self, fields: Fields) -> str | None:
        """The column of which no value is in two parts, by the protocol; None if there is none."""
        return None

    def check(self, fields: Fields) -> None:
        """Raise UserError if ``accept`` names what the audit knows nothing of."""
        names = [*fields.features, *filter(None, (fields.history,)), ROWS]
        for name in self.accept:
            if name not in names:
                raise UserError(
                    f"protocol.accept names '{name}', of which nothing can be found."
                    f"{nearest(name, names)} It takes: {listed(names)}."
                )

    @abstractmethod
    def assign(self, table: ClickTable, fields: Fields) -> SplitAssignment:
        """Say what each row is for. Raises UserError where the data lacks what is needed."""


@dataclass(frozen=True)
class RandomRows(RandomShares, RowProtocol):
    """Rows at random, by ratio.

    Args:
        val, test, seed: see :class:`lightning_rec.data.shares.RandomShares`.
        whole_groups: assign all rows of a group (``data.fields.group``) to one part, by the shares
            of the groups: nobody who is tested on is trained on.
    """

    val: BelowOne = 0.1
    test: BelowOne = 0.1
    whole_groups: bool = False

    name: ClassVar[str] = "random_rows"

    def disjoint_column(self, fields: Fields) -> str | None:
        """The groups, if each is assigned as a whole."""
        return fields.group if self.whole_groups else None

    def assign(self, table: ClickTable, fields: Fields) -> SplitAssignment:
        """Draw the rows, or groups, of each part."""
        number, member = table.info["rows"], None
        if self.whole_groups:
            if fields.group is None:
                raise UserError("protocol.whole_groups=true needs data.fields.group=COLUMN.")
            member = codes(table, fields.group, lambda values: values) + 1
            number = int(member.max()) + 1
        part = self.draw(number)
        return SplitAssignment(part if member is None else part[member])


@dataclass(frozen=True)
class TemporalRows(RowProtocol):
    """Split by time: train before ``val_from``, validate before ``test_from``, then test.

    Args:
        val_from: where validation begins: a quantile of the times, or a date (ISO, with a time of
            day and a zone if need be; UTC without one).
        test_from: likewise, where the test begins. Rows at the very time of a cut lie after it.
        since: a date; rows before it are in no part, and no item of a history.
        until: likewise, those from then on: the log as it was at that moment.

    Raises UserError if validation would begin after test, or a cut is neither quantile nor date.
    """

    val_from: Cut = 0.8
    test_from: Cut = 0.9
    since: str | None = None
    until: str | None = None

    name: ClassVar[str] = "temporal_rows"

    def __post_init__(self) -> None:
        settle(self)
        settle_dates(self, "since", "until")

    def settings(self) -> dict[str, Any]:
        """All settings that say which rows are for what; a period, which came later, if said."""
        apart = ("since", "until")
        return {k: v for k, v in super().settings().items() if k not in apart or v is not None}

    def assign(self, table: ClickTable, fields: Fields) -> SplitAssignment:
        """Cut at two moments. Raises UserError where a date lies outside the data."""
        time = times(table, fields)
        cuts, period = (self.val_from, self.test_from), (self.since, self.until)
        unit = 1.0  # how many units of the times make a second, where that counts
        if any(isinstance(cut, str) for cut in (*cuts, *period)):
            try:
                unit = divisor(float(time.min()), float(time.max()), "auto")
            except ValueError as error:
                raise UserError(
                    f"protocol.val_from={self.val_from} test_from={self.test_from} needs times, "
                    f"but column '{fields.time}' {error}."
                ) from None
        since, until = (None if date is None else seconds(date) * unit for date in period)
        inside = np.ones(len(time), dtype=bool)
        if since is not None:
            inside &= time >= since
        if until is not None:
            inside &= time < until
        if not inside.any():
            raise UserError(
                f"protocol.since={self.since} until={self.until} leaves no row: the data has none "
                "of that time."
            )
        val_from, test_from = boundaries(*cuts, time[inside], unit=unit)
        part = (time >= val_from).astype(np.int8) + (time >= test_from).astype(np.int8)
        part[~inside] = -1
        return SplitAssignment(part, (val_from, test_from))


@dataclass(frozen=True)
class GivenRows(RowProtocol):
    """The split that the data came with, one file or mark for each part."""

    name: ClassVar[str] = "given_rows"

    def assign(self, table: ClickTable, fields: Fields) -> SplitAssignment:
        """Read the marks of the source."""
        if PART not in table.rows.collect_schema():
            raise UserError(
                f"protocol=given_rows: {table.info['name']} came without a split. Use "
                "protocol=random_rows or temporal_rows; your own files can be given as "
                "data.path=TRAIN data.val=FILE data.test=FILE."
            )
        part = np.zeros(table.info["rows"], dtype=np.int8)
        for start, frame in table.blocks(PART):
            if unknown := sorted(set(frame[PART].unique().to_list()) - set(PARTS)):
                raise UserError(f"{PART} holds {listed(unknown)}; it is one of {listed(PARTS)}.")
            numbers = frame[PART].replace_strict(PARTS, range(len(PARTS)), return_dtype=pl.Int8)
            part[start : start + len(frame)] = numbers.to_numpy()
        return SplitAssignment(part)


def seconds_of(table: ClickTable, fields: Fields) -> Floats | None:
    """Times of the rows, float64 [N] of seconds since 1970, if they are known and their unit is."""
    if fields.time is None:
        return None
    time = times(table, fields)
    try:
        return time / divisor(float(time.min()), float(time.max()), "auto")
    except ValueError:
        return None


def times(table: ClickTable, fields: Fields) -> Floats:
    """Times of the rows, float64 [N]. Raises UserError if there are none, or one is no time."""
    if fields.time is None:
        raise UserError(
            f"protocol=temporal_rows needs times: name the column of {table.info['name']} that "
            "holds them, data.fields.time=COLUMN, or use protocol=random_rows."
        )
    schema, time = table.rows.collect_schema(), pl.col(TIME)
    if TIME not in schema:
        given = table.rows.select(fields.time).drop_nulls().head(1).collect()[fields.time]
        first = str(given[0]).strip() if given.dtype == pl.String and len(given) else None
        time = raw_time(fields.time, given.dtype, first)
    found, faults = np.zeros(table.info["rows"]), Faults(table)
    for start, frame in table.blocks(fields.time, *({TIME} & set(schema))):
        read = frame.select(time).to_series()
        faults.add(start, frame[fields.time], read.is_null().to_numpy())
        found[start : start + len(frame)] = read.fill_null(0).to_numpy()
    form = getattr(table.source, "times", None)
    faults.told(
        f"'{{value}}' in column '{fields.time}' is no time", lambda value: remedy(value, form)
    )
    return found
