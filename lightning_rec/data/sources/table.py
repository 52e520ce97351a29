"""Anybody's own log: delimited text, JSON lines, Parquet or Arrow, packed or not, or a folder."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.beside import Beside
from lightning_rec.data.columns import Log, read_log
from lightning_rec.data.dialect import Decimal, Dialect, Form, Invalid
from lightning_rec.data.events import Columns
from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.histories import sequences
from lightning_rec.data.kinds import read_kept
from lightning_rec.data.plain import READ, table_files
from lightning_rec.data.schema import Tables
from lightning_rec.data.shares import PARTS
from lightning_rec.data.side import DERIVED
from lightning_rec.data.tabular import open_table
from lightning_rec.data.ties import Ties
from lightning_rec.data.times import TimeForm, TimeUnit
from lightning_rec.errors import NotSet, UserError

TAKEN = ("user", "item", "timestamp", "fraction", "moment", "rating", "part", "row", *DERIVED)


@dataclass(eq=False, kw_only=True)
class OwnTable:
    """A table of one's own, all rows of it in one place, or a file for each part.

    Args:
        path: delimited text, JSON lines, Parquet or Arrow; gzip, bzip2, xz or zip of it; a folder
            of such files. Must be set.
        val: a second file, for validation, with the same columns; ``path`` is for training then,
            and ``protocol=given`` or ``given_rows`` keeps the parts. None where there is none.
        test: a third file, for the test.
        name: of the data set; None takes the file's.
        delimiter: what parts the fields of text: any characters, ``tab`` or ``blanks``; None tells
            it from the first lines.
        header: whether the first line names the columns; None: unless ``columns`` does.
        columns: names of the columns of text, in their order.
        encoding: of text.
        decimal: what parts whole numbers from fractions in text, of the catalogue as well.
        quoted: whether fields of text may stand in quotes; else quotes are characters as others
            are.
        time_unit: unit of numeric times; ``auto`` tells it from their size, ``excel`` counts days
            since 1900.
        time_format: of dates, as ``strptime`` has it; None knows the usual ones.
        day_first: whether 5/6/2024 is in June; None tells it from the other rows.
        graph: a knowledge graph, ``{triples: FILE, links: FILE}``, or None; see
            :class:`lightning_rec.data.graphs.files.GraphFiles`.
        invalid: ``error`` refuses a file with a faulty row, ``drop`` leaves such rows out, and says
            how many.

    Raises UserError if ``path`` is not set, or ``val`` is given without ``test``.
    """

    licence: ClassVar[str] = "yours"

    path: str | None = field(default=None, kw_only=False)
    val: str | None = None
    test: str | None = None
    name: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    columns: list[str] | None = None
    encoding: str = "utf-8"
    decimal: Decimal = "point"
    quoted: bool = True
    time_unit: TimeUnit = "auto"
    time_format: str | None = None
    day_first: bool | None = None
    graph: GraphFiles | None = None
    invalid: Invalid = "error"

    def __post_init__(self) -> None:
        if self.path is None:
            raise NotSet(f"data.path is not set: say data.path=FILE, {READ}.")
        if self.val is not None and self.test is None:
            raise UserError(f"data.val={self.val} needs data.test=FILE beside it.")
        given = {"train": self.path, "val": self.val, "test": self.test}
        self.paths = {part: Path(file).expanduser() for part, file in given.items() if file}
        self.name = self.name or self.paths["train"].name.split(".")[0] or "table"
        self.dialect = Dialect(
            self.delimiter,
            self.header,
            self.columns,
            self.encoding,
            decimal=self.decimal,
            quoted=self.quoted,
        )
        self.times = TimeForm(self.time_unit, self.time_format, self.day_first)

    @property
    def graph_files(self) -> GraphFiles | None:
        """The files of the knowledge graph, which are read when it is used."""
        return self.graph

    def files(self) -> list[Path]:
        """All files, those of training first. Raises UserError if one is missing."""
        return [file for path in self.paths.values() for file in table_files(path)]


@dataclass(eq=False, kw_only=True)
class TableSource(OwnTable):
    """Reads a log from ``path``, and the catalogue of items if there is one.

    Args:
        user: column of user ids, any strings or numbers. Must be set, as ``item`` must, but where
            ``columns`` has one of that very name, or ``form`` is ``lines``; likewise ``time`` and
            ``rating`` where ``columns`` has them.
        item: column of item ids.
        time: column of times: epoch seconds to nanoseconds, or dates; a time without a zone is
            UTC. None takes the order of the rows for the order of time.
        rating: column of numbers, or None.
        session: column of session ids, or None. Sessions then stand where users would: each is a
            sequence of its own. Where ``user`` is set too, a session is one of a user.
        history: column of lists of items, or None. A row is then a sequence of its own: what was
            before, oldest first, and the item that followed.
        form: ``rows``: one event each. ``lists``: the column of items holds lists. ``lines``: a
            line is a user and all his items.
        features: columns of the log that say something of an event, such as its device: what models
            may read of it (``task.events``).
        keep: which rows are events, by columns of the log: ``{kind: [purchase]}``; None: all.
        ties: the order of a user's events at one time: ``file``, as the rows have it, or
            ``shuffle``, by a hash of their ids, so that it says nothing.
        catalogue: table with one row per item, or None.
        catalogue_item: its column of item ids.
        catalogue_title: its column of titles, or None. All other columns are kept as features.
        catalogue_columns: names of its columns, in their order, where it has no header.
        catalogue_encoding: of its text; None: UTF-8 where it is that, else as the log.
        users: table with one row per user, or None; its columns are kept as features of users.
        users_user: its column of user ids.
        users_columns, users_encoding: as of the catalogue.

    Raises UserError as :class:`OwnTable` does, if ``user`` or ``item`` is not set, ``history`` is
    set where ``form`` is not ``rows``, or ``ties`` where no ``time`` is.
    """

    kind: ClassVar[str] = "interactions"

    user: str | None = field(default=None, kw_only=False)
    item: str | None = field(default=None, kw_only=False)
    time: str | None = field(default=None, kw_only=False)
    rating: str | None = field(default=None, kw_only=False)
    session: str | None = None
    history: str | None = None
    form: Form = "rows"
    features: list[str] | None = None
    keep: dict[str, Any] | None = None
    ties: Ties = "file"
    catalogue: str | None = None
    catalogue_item: str = "item"
    catalogue_title: str | None = None
    catalogue_columns: list[str] | None = None
    catalogue_encoding: str | None = None
    users: str | None = None
    users_user: str = "user"
    users_columns: list[str] | None = None
    users_encoding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history is not None and self.form != "rows":
            raise UserError(
                f"data.history={self.history} needs data.form=rows: a row is a history and an item."
            )
        self.dialect = replace(self.dialect, form=self.form)
        named = {role: role for role in self.dialect.named}
        user = (self.session if self.user is None else self.user) or named.get("user")
        item = self.item or named.get("item")
        if user is None or item is None:
            role = "user" if user is None else "item"
            raise NotSet(
                f"data.{role} is not set: say data.{role}=COLUMN, its column in {self.path} "
                f"('lightning-rec data check {self.path}' proposes one)."
            )
        time, rating = self.time or named.get("time"), self.rating or named.get("rating")
        if self.ties == "shuffle" and time is None:
            raise UserError(
                "data.ties=shuffle is about events of one time, and no times are named: say "
                "data.time=COLUMN, or leave order out, protocol=random_items."
            )
        within = self.session if self.session != user else None  # of a user, if users are named
        more = (read_kept(self.keep), self._features())
        self.roles = Columns(user, item, time, rating, self.times, within, self.history, *more)
        self.in_order = self.form != "rows" or self.history is not None  # lists are in that of time
        self.timed = time is not None
        if self.users is not None and self.session is not None:
            raise UserError(
                "data.users says what users are, and with data.session sessions stand where users "
                "would: drop one of the two."
            )
        self.about = {each.setting: each for each in self._about()}

    def _features(self) -> tuple[str, ...]:
        """The columns that say something of events. Raises UserError where they cannot be kept."""
        names = tuple(self.features or ())
        if names and (self.form != "rows" or self.history is not None):
            raise UserError("data.features needs rows that are one event each: data.form=rows.")
        if taken := [name for name in names if name in TAKEN]:
            raise UserError(
                f"data.features names '{taken[0]}', which is what this program calls its own "
                "column: rename it in the file (data.columns names those of a text)."
            )
        return names

    def _about(self) -> Iterator[Beside]:
        """The tables of items and of users, as far as they are named."""
        for setting, role, title in (
            ("catalogue", "item", self.catalogue_title),
            ("users", "user", None),
        ):
            path: str | None = getattr(self, setting)
            if path is None:
                continue
            own: str | None = getattr(self, f"{setting}_encoding")
            dialect = Dialect(
                columns=getattr(self, f"{setting}_columns"),
                encoding=own or self.encoding,
                quoted=self.quoted,
                decimal=self.decimal,
            )
            column = getattr(self, f"{setting}_{role}")
            known = own is not None
            yield Beside(Path(path).expanduser(), role, setting, column, dialect, known, title)

    def files(self) -> list[Path]:
        """Files of the log, training first, then those about items and users. Raises UserError."""
        about = [file for each in self.about.values() for file in table_files(each.path)]
        return super().files() + about

    def settings(self) -> dict[str, Any]:
        """What else the tables depend on: the columns and their meaning."""
        roles = asdict(self.roles)
        kept, users = roles.pop("kept"), self.about.get("users")
        features = roles.pop("features")
        return {
            **roles,
            **({"keep": kept} if kept else {}),
            **({"features": features} if features else {}),
            **asdict(self.dialect),
            "session": self.session,
            "ties": self.ties,
            "parts": list(self.paths),
            "invalid": self.invalid,
            "catalogue": self.catalogue is not None,
            "catalogue_item": self.catalogue_item,
            "catalogue_title": self.catalogue_title,
            "catalogue_encoding": self.catalogue_encoding,
            "catalogue_columns": self.catalogue_columns and tuple(self.catalogue_columns),
            **({"users": [users.column, asdict(users.dialect)]} if users else {}),
        }

    def read(self, files: list[Path]) -> Tables:
        """Read the log through once to check it. Raises UserError for the first fault found."""
        logs = {part: self._log(path) for part, path in self.paths.items()}
        dropped = sum((Counter(log.dropped) for log in logs.values()), Counter[str]())
        events = {part: log.ordered(self.ties) for part, log in logs.items()}
        if self.roles.history is not None:
            rows = sequences(events)
        elif len(events) == 1:
            rows = events["train"]
        else:
            marks = {part: pl.lit(place, pl.Int8) for place, part in enumerate(PARTS)}
            rows = pl.concat(frame.with_columns(part=marks[part]) for part, frame in events.items())
        users = self.about["users"].read() if "users" in self.about else None
        return Tables(rows, self.items(), users, dropped)

    def _log(self, path: Path) -> Log:
        log = read_log(open_table(path, self.dialect, self.invalid), self.roles, self.invalid)
        if log.faults:
            rest = ""
            if len(log.faults) > 1:
                rest = (
                    " More is wrong: 'lightning-rec data check FILE' shows all, and "
                    "data.invalid=drop leaves such rows out."
                )
            raise UserError(log.faults[0] + rest)
        return log

    def items(self) -> pl.LazyFrame | None:
        """The catalogue; see :meth:`Beside.read`. Raises UserError of what is wrong with it."""
        return self.about["catalogue"].read() if "catalogue" in self.about else None
