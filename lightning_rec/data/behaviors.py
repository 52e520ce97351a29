"""Several behaviors in one log, such as views and purchases: which events are to be predicted."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from lightning_rec.data.ids import as_text, stripped
from lightning_rec.data.kinds import Kept, read_kept
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Split
from lightning_rec.data.types import Mask
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.files import sha256_json

if TYPE_CHECKING:
    from lightning_rec.data.protocol import SplitProtocol

Learn = Literal["all", "target"]

KEY = "protocol.target_events"
_IDS = ("user", "item", "timestamp", "fraction", "part")  # columns that say no behavior
_HASHED = ("rating",)  # columns that the hash of the data holds
_SHOWN = 6  # values that are shown


def settle_targets(protocol: Any) -> None:
    """``target_events`` of a protocol as columns with their values, in place."""
    given = protocol.target_events
    if given is not None and not isinstance(given, tuple):
        read = read_kept(given, KEY) if isinstance(given, Mapping) else ()
        if not read:
            raise UserError(f"{KEY}={given}: say a column with its values, {{kind: [purchase]}}.")
        object.__setattr__(protocol, "target_events", read)


def of_target(data: Interactions, wanted: Kept | None) -> pl.Expr:
    """Whether an event is of the target behavior; all are where none is named. Numbers are compared
    as numbers, all else as text.

    Raises UserError where the column is not kept, or holds numbers and a value is none.
    """
    parts = [pl.lit(True)]
    schema = data.events.collect_schema()
    there = [name for name in schema.names() if name not in _IDS]
    for name, values in wanted or ():
        if name not in there:
            known = f"there are {listed(there)}" if there else "there are none"
            raise UserError(
                f"{KEY}: {data.info['name']} has no column '{name}' of events; {known}."
                f"{nearest(name, there)} Those of your own log are kept by data.features=[COLUMN]."
            )
        dtype, column = schema[name], pl.col(name)
        if not dtype.is_numeric():
            parts.append(stripped(as_text(column, dtype)).is_in(list(values)))
            continue
        # Ratings are Float32: .7 is to be .7, which no Float64 between the two says.
        exact: Any = pl.Float32 if dtype == pl.Float32 else pl.Float64
        numbers = pl.Series([_number(name, value) for value in values], dtype=exact)
        parts.append(column.cast(exact).is_in(numbers.implode()))
    return pl.all_horizontal(*parts).fill_null(False)


def target_rows(data: Interactions, wanted: Kept | None) -> Mask:
    """Of each row of the prepared table whether it is of the target behavior: bool [N]."""
    marked = data.events.with_columns(of_target(data, wanted).alias(KEY)).select(KEY)
    return marked.collect().to_series().to_numpy()


def hash_with_targets(data: Interactions, wanted: Kept | None) -> str:
    """The hash of the data, and of which events are of the target behavior, where columns say so
    that it does not hold: they decide on training and targets.
    """
    known = str(data.info["data_hash"])
    if all(name in _HASHED for name, _ in wanted or ()):
        return known
    return sha256_json([known, sha256(target_rows(data, wanted).tobytes()).hexdigest()])


def learnt_events(
    data: Interactions, split: Split, protocol: "SplitProtocol", learn: Learn
) -> Mask | None:
    """Which events of a split training may predict, bool [N]: those of the target behavior, where
    ``learn`` is ``target``; None for all. Models in closed form count all in either case.

    Raises UserError where no target behavior is named, or none of its events is in training.
    """
    if learn == "all":
        return None
    if protocol.behavior is None:
        raise UserError(
            f"task.learn=target needs the target behavior: {KEY}={{COLUMN: [VALUE]}}, as "
            "{kind: [purchase]}."
        )
    learnt = target_rows(data, protocol.behavior)[np.asarray(split.rows)]
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    if not (learnt & (np.arange(len(learnt)) < split.train_end[owner])).any():
        raise UserError("task.learn=target: training has no target event. Say task.learn=all.")
    return learnt


def none_of(data: Interactions, wanted: Kept) -> UserError:
    """The error where no event is of the target behavior."""
    told = []
    for name, _ in wanted:
        counted = data.events.group_by(name).len("rows").drop_nulls().collect()
        counted = counted.sort("rows", name, descending=[True, False]).head(_SHOWN)
        told.append(f"{name} ({listed(f'{value} {rows:,}' for value, rows in counted.rows())})")
    said = listed(f"{name}: [{listed(values)}]" for name, values in wanted)
    return UserError(
        f"{KEY}={{{said}}}: no event of {data.info['name']} is that; there are: {listed(told)}."
    )


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{KEY}: column '{name}' holds numbers, and '{value}' is none.") from None
