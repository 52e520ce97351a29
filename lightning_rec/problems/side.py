"""What a config has models read of events and users, from the data to batches and models."""

import logging
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import nn

from lightning_rec.data.batches import NO_SIDE, SideRows, times_of
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.schema import Interactions
from lightning_rec.data.side import DERIVED, Columns, chosen, fitted, of_times, share
from lightning_rec.data.split import Histories, Split
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_json
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.sequential.base import attach
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

TABLE = "side"  # what a run keeps of the columns
_OWN = ("user", "item", "timestamp", "fraction", "part")  # columns of a log that are no features
_NONE = Columns()


class Known(NamedTuple):
    """Columns of events and of users, and what they say in the data at hand."""

    events: Columns = _NONE
    users: Columns = _NONE
    rows: SideRows = NO_SIDE

    def table(self) -> pl.DataFrame:
        """The columns as a run keeps them."""
        columns = {"events": self.events, "users": self.users}
        parts = [{"of": of, **each} for of, own in columns.items() for each in own.plain()]
        types: Any = {"of": pl.String, "name": pl.String, "values": pl.List(pl.String),
                      "edges": pl.List(pl.Float64)}  # fmt: skip
        return pl.DataFrame(parts, schema=types)

    def hash(self) -> str:
        """SHA-256 of all that models read."""
        rows = [None if each is None else sha256(each.tobytes()).hexdigest() for each in self.rows]
        return sha256_json([self.events.plain(), self.users.plain(), rows])


class Reads:
    """The columns that a config names, of events and of users; true where there are any."""

    def __init__(self, events: Sequence[str], users: Sequence[str]) -> None:
        self.events, self.users = [*events], [*users]
        self._known: tuple[AuditedLog, Known] | None = None

    def __bool__(self) -> bool:
        return bool(self.events or self.users)

    def known(self, loaded: AuditedLog, model: nn.Module | None = None) -> Known:
        """What they say in the data at hand, found once; nothing if a ``model`` ignores it."""
        if not self or (model is not None and getattr(model, "side", None) is None):
            return Known()
        if self._known is None or self._known[0] is not loaded:
            self._known = loaded, known(loaded, self.events, self.users)
        return self._known[1]


def known(loaded: AuditedLog, events: Sequence[str], users: Sequence[str]) -> Known:
    """The named columns in audited data, their categories those of training. Raises UserError for a
    column that is not there.
    """
    data, split, empty = loaded.data.log, loaded.data.split, Columns()
    of_events, of_users, rows, about = empty, empty, None, None
    if events:
        table = _of_events(data, split, events)
        owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
        learnt = np.arange(len(split.items)) < split.train_end[owner]
        of_events = fitted(table.filter(pl.Series(learnt)))
        rows = of_events.rows(table)
    if users:
        there = data.users.drop("user")
        more = "Name a table of users by data.users=FILE." if not there.width else ""
        table = chosen(there, users, "task.users", more)
        trained = split.train_end > split.offsets[:-1]
        of_users = fitted(table.filter(pl.Series(trained)))
        about = of_users.rows(table)
    return Known(of_events, of_users, SideRows(rows, about))


def _of_events(data: Interactions, split: Split, names: Sequence[str]) -> pl.DataFrame:
    """Named columns of the events of a split, in its order."""
    there = [name for name in data.events.collect_schema().names() if name not in _OWN]
    rows = pl.Series(np.asarray(split.rows))
    columns = [each.gather(rows) for each in data.events.select(there).collect()]
    if (times := times_of(split)) is not None:
        told = of_times(np.asarray(times), np.asarray(split.offsets))
        columns += [told[name] for name in told.columns if name not in there]
    timed = "" if times is not None else " gap, hour and weekday need times, data.time=COLUMN."
    more = f"Columns of your own log are kept by data.features=[COLUMN,…].{timed}"
    return chosen(pl.DataFrame(columns), names, "task.events", more)


def of_run(run: RunFolder) -> tuple[Columns, Columns] | None:
    """The columns of events and of users that a run was trained with; None where there are none."""
    if not (run.path / f"{TABLE}.parquet").is_file():
        return None
    kept = run.table(TABLE)
    try:
        events, users = (
            Columns.of_plain(kept.filter(pl.col("of") == of).drop("of").to_dicts())
            for of in ("events", "users")
        )
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{run.path / TABLE}.parquet is not as it was written ({error}).") from None
    return events, users


@torch.no_grad()
def given(model: nn.Module, known: Known) -> None:
    """Have a new model read what is known, and tell what it ignores."""
    assert isinstance(model, SequenceModel)
    attach(model, known.events, known.users)
    if model.side is not None:
        parts = (model.side.events, model.side.users)
        for part, rows in zip(parts, known.rows, strict=True):
            if part is not None and rows is not None:
                part.met(torch.from_numpy(share(rows, len(part.table))))
    if not _reads(model, known):
        model.side = None
        names = {"events": known.events.names, "users": known.users.names}
        told = " and ".join(f"task.{key}=[{','.join(of)}]" for key, of in names.items() if of)
        log.warning(
            "%s does not read what is known of events or users: %s is ignored.",
            type(model).__name__, told,
        )  # fmt: skip


def _reads(model: SequenceModel, known: Known) -> bool:
    """Whether a model asks for what is known when it reads a history; nothing is drawn."""
    if model.side is None:
        return False
    asked: list[bool] = []
    handle = model.side.register_forward_hook(lambda *_: asked.append(True))
    learning = model.training
    item = torch.zeros(1, 1, dtype=torch.int64)
    events = torch.zeros(1, 1, len(known.events), dtype=torch.int64) if known.events else None
    about = torch.zeros(1, len(known.users), dtype=torch.int64) if known.users else None
    model.eval()(Histories(item, item[0], None, events, about), torch.zeros(1, dtype=torch.int64))
    model.train(learning)
    handle.remove()
    return bool(asked)


def timed(model: SequenceModel) -> bool:
    """Whether a model reads times of events, or what is made of them."""
    names = model.side.of_events.names if model.side else []
    return model.reads_times or any(name in DERIVED for name in names)


def refuse(problem: Any, what: str) -> None:
    """Raise UserError where a run's model reads columns, which nobody gives it here."""
    if reads := getattr(problem, "side", None):
        names = [f"task.{key}" for key in ("events", "users") if getattr(reads, key)]
        raise UserError(
            f"{what} reads columns of events or users ({listed(names)}), which it is not "
            "given here: take a run without them."
        )
