"""What came of each row: what a column says, and whether its group comes back in time.

Whether somebody comes back within a week is known a week later. A row whose week is not over when
its part ends (where validation begins, where the test begins, at the end of the log) is left out of
the part: nothing is learnt or chosen by what a model trained at that moment could not know, and no
row counts as one without a return merely because the log ends.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.columns import codes, text
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.splits import SplitAssignment, times
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.shares import PARTS
from lightning_rec.data.times import divisor
from lightning_rec.data.types import Floats, Mask
from lightning_rec.errors import UserError

Groups = NDArray[np.int32] | None  # of each row, [N], -1 for none; None where none are declared


def groups_of(table: ClickTable, fields: Fields) -> Groups:
    """The number of each row's group."""
    return None if fields.group is None else codes(table, fields.group, text)


def labels_of(table: ClickTable, fields: Fields, group: Groups) -> NDArray[np.float32]:
    """Labels, float32 [N] of 0 and 1, or [N, G] of several goals. Raises UserError if not so.

    Of a retention goal it is what the whole log says, whether that is known yet or not: see
    :func:`undecided`.
    """
    found = [
        columns.label(table, goal, f"data.fields.goals.{name}" if fields.goals else "data.fields")
        if goal.column is not None
        else _returned(table, fields, goal, group)
        for name, goal in fields.targets.items()
    ]
    return found[0] if len(found) == 1 else np.stack(found, axis=1)


def undecided(
    table: ClickTable, fields: Fields, group: Groups, assigned: SplitAssignment | None = None
) -> Mask:
    """Rows of which it is not known whether their group comes back when their part ends, and those
    of no group: bool [N], of no row where no goal asks for it. Without parts the log is one.

    Raises UserError where parts are not cut by time.
    """
    rows = table.info["rows"]
    if not fields.returns:
        return np.zeros(rows, dtype=bool)
    assert group is not None
    time, part = times(table, fields), np.zeros(rows, dtype=np.int8)
    ends: tuple[float, ...] = (float(time.max()),)
    if assigned is not None:
        if assigned.boundaries is None:
            raise UserError(
                f"data.fields.goals.{next(iter(fields.returns))} asks what comes later, which one "
                "split by time alone keeps apart from what is learnt: say protocol=temporal_rows."
            )
        part = assigned.part
        ends = (*assigned.boundaries, float(time[part >= 0].max()))
    longest = longest_return(time, fields)
    found = group < 0
    for place, end in enumerate(ends):
        found |= (part == place) & (time + longest > end)
    return found


def longest_return(time: Floats, fields: Fields) -> float:
    """How long after a row its labels are known, in the unit of the times [N]; 0 if at once."""
    if not fields.returns:
        return 0.0
    return max(goal.window[1] for goal in fields.returns.values()) * _unit(time, fields)


def grouped(loaded: Any, fields: Fields) -> Mask:
    """The rows that can be learnt, bool [N]: all, or with a retention goal those of a group."""
    encoded = loaded.data.encoded
    if not fields.returns:
        return np.ones(len(encoded.label), dtype=bool)
    own: Mask = np.asarray(encoded.group) >= 0
    return own


def told(table: ClickTable, fields: Fields, assigned: SplitAssignment, left_out: Mask) -> list[str]:
    """In sentences how many rows of each part :func:`undecided` leaves out, and that rows which
    were dropped are nobody's return.
    """
    told = []
    if fields.returns and table.info["dropped"]:
        told.append(
            f"{table.info['name']}: faulty rows were left out (data.invalid=drop), and so are no "
            "returns of those before them."
        )
    counts = {name: int(left_out[assigned.part == at].sum()) for at, name in enumerate(PARTS)}
    if sum(counts.values()):
        each = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
        within = (f"{name} within {x.returns_within}" for name, x in fields.returns.items())
        told.append(
            f"{sum(counts.values()):,} rows ({each}) are left out, since it is not known when "
            f"their part ends whether their '{fields.group}' comes back: {', '.join(within)}."
        )
    return told


def _returned(table: ClickTable, fields: Fields, goal: Goal, group: Groups) -> NDArray[np.float32]:
    """Whether the group of each row has another one in the goal's window after it, float32 [N]."""
    assert group is not None
    time = times(table, fields)
    unit = _unit(time, fields)
    after, within = (seconds * unit for seconds in goal.window)
    moments = np.unique(time)  # whole numbers instead of times: keys are exact
    stride = len(moments) + 1
    start = group.astype(np.int64) * stride
    events = np.sort(start + np.searchsorted(moments, time))
    first = start + np.searchsorted(moments, time + after)
    last = start + np.searchsorted(moments, time + within)
    came = np.searchsorted(events, first) < np.searchsorted(events, last)
    return (came & (group >= 0)).astype(np.float32)


def _unit(time: Floats, fields: Fields) -> float:
    """How many units of the times make a second."""
    try:
        return divisor(float(time.min()), float(time.max()), "auto")
    except ValueError as error:
        raise UserError(
            f"data.fields.goals.{next(iter(fields.returns))} needs times, but column "
            f"'{fields.time}' {error}."
        ) from None
