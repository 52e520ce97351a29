"""What is asked as batches of histories, with all that a model reads of events and users."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_rec.data.batches import gather, gather_rows
from lightning_rec.data.side import DERIVED, of_times
from lightning_rec.data.split import Histories
from lightning_rec.data.types import Ints
from lightning_rec.errors import listed
from lightning_rec.models.base import SequenceModel
from lightning_rec.predict.asking import Asked, Catalogue
from lightning_rec.predict.asking import Histories as Raw
from lightning_rec.predict.histories import asked_of, asked_with
from lightning_rec.predict.told import Told


def batch(asked: Asked, rows: Ints, model: SequenceModel, users: pl.DataFrame | None) -> Histories:
    """The latest items of some histories, as many as the model reads. ``users``: those of the run,
    by code.
    """
    end = asked.offsets[rows + 1]
    start = np.maximum(asked.offsets[rows], end - model.schema.max_len)
    items = gather(asked.items, start, end, model.schema.padding)
    times = asked.when(rows, start, end) if model.reads_times else None
    events = about = None
    if (side := model.side) is not None:
        if side.events is not None and asked.events is not None:
            events = gather_rows(asked.events, start, end)
        if side.users is not None and users is not None and "about" in users.columns:
            about = torch.from_numpy(_about(users["about"], asked.user[rows], len(side.of_users)))
    return Histories(items, torch.from_numpy(asked.user[rows]), times, events, about)


def _about(known: pl.Series, user: Ints, width: int) -> NDArray[np.int64]:
    """Rows of users, int64 [B, G], 0 for one that the run does not know."""
    found = np.zeros((len(user), width), dtype=np.int64)
    there = user >= 0
    some = known.gather(user[there]).explode(empty_as_null=False)
    found[there] = some.to_numpy().reshape(-1, width)
    return found


def lacking(
    model: SequenceModel,
    users: pl.DataFrame | None,
    times: Ints | None,
    events: NDArray[np.int32] | None,
    lacks: Sequence[str],
) -> str:
    """What a model reads of events and a question does not say, in a sentence; empty where there is
    none. ``users``: those of the run, which say whether its log had times. For the others see
    :class:`Asked`.
    """
    timed = users is None or "times" in users.columns
    names = [*lacks]
    if model.reads_times and timed and times is None:
        names.append("time")
    if model.side is not None and events is None:
        names += sent(model.side.of_events.names)
    if not names:
        return ""
    said = listed(dict.fromkeys(names))
    return (
        f"{type(model).__name__} reads {said} of each event, which is not said of these histories: "
        "they are answered without it. Files and frames say it by a row for each event with the "
        f"columns user, item and {said}; a request over HTTP by an object with the keys item and "
        f"{said} in place of each id."
    )


def read_of_events(model: SequenceModel) -> list[str]:
    """The columns beside the item by which a model is told all that it reads of an event."""
    names = [] if model.side is None else sent(model.side.of_events.names)
    return list(dict.fromkeys([*names, *(["time"] if model.reads_times else [])]))


def sent(names: Sequence[str]) -> list[str]:
    """The columns that say what is read: times say what is made of them."""
    return ["time" if name in DERIVED else name for name in names]


def asked_by(raw: Raw, catalogue: Catalogue, told: Told, model: SequenceModel) -> Asked:
    """What is asked by histories of raw ids, with what the model reads of their events; where
    neither that nor times are given it is asked without.
    """
    if model.side is None:
        return asked_of(raw, catalogue, told)
    columns = model.side.of_events
    asked, given = asked_with(raw, catalogue, told, columns.names)
    if asked.times is not None:
        made = of_times(asked.times, asked.offsets)
        derived = [made[name] for name in made.columns if name not in given.columns]
        given = pl.DataFrame([*given, *derived])  # it may have had no column, and so no row
    there = set(given.columns)
    if not there & set(columns.names):
        return asked
    lacks = tuple(sent([name for name in columns.names if name not in there]))
    return asked._replace(events=columns.rows(given), lacks=lacks)
