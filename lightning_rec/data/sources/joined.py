"""Several data sets as one: their users and items side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec import building
from lightning_rec.data.schema import TIMED, Source, Tables
from lightning_rec.data.split import Split
from lightning_rec.data.ties import Ties
from lightning_rec.errors import UserError, listed

OF = "data"  # the column of items and users that says which set they are of
_WHOLE = (*TIMED, "rating", "part")  # columns whose values no row may lack


@dataclass(eq=False, kw_only=True)
class JoinedSource:
    """One log with the users and items of several data sets, which have none in common.

    Ids are those of the parts behind the part's name, ``beauty:B00KAL5JAU``. The tables of items
    and of users have all columns that one of the parts has, and ``data``, the part's name. Times
    are kept if every part has them, and rows are in their order; so are ratings and a split that
    the data came with. Else each part's events are in the order of its own times.

    Args:
        parts: nodes as ``data=`` has them, by names of one's own, two or more.
        name: of the data set; None takes the names of the parts.

    Raises UserError where a part is no log of interactions, cannot be built, or has a knowledge
    graph.
    """

    kind: ClassVar[str] = "interactions"

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise UserError(
                "data.parts has to name two data sets or more: say 'data=[beauty,toys_p5]'."
            )
        self.sources = {name: _source(name, node) for name, node in self.parts.items()}
        self.name = self.name or "+".join(self.sources)
        every = self.sources.values()
        ordered = [getattr(each, "in_order", False) for each in every]
        timed = [
            getattr(each, "timed", not known) for each, known in zip(every, ordered, strict=True)
        ]
        self.timed = all(timed)
        # Where times are not kept, rows are put in their order.
        self.in_order = all(a or b for a, b in zip(ordered, timed, strict=True))
        ties: set[Ties | None] = {getattr(each, "ties", None) for each in every}
        self.ties = next(iter(ties)) if len(ties) == 1 else None
        self._numbers: list[int] | None = None  # of the files of each part

    @property
    def licence(self) -> str:
        """The licences of the parts."""
        of = {name: getattr(each, "licence", "unknown") for name, each in self.sources.items()}
        return "; ".join(f"{name}: {licence}" for name, licence in of.items())

    def files(self) -> list[Path]:
        """The raw files of all parts. Raises UserError if they are not to be had."""
        found = [each.files() for each in self.sources.values()]
        self._numbers = [len(files) for files in found]
        return [file for files in found for file in files]

    def settings(self) -> dict[str, Any]:
        """Those of the parts, in their order, which decides the codes; and what sessions are, where
        all of them name some.
        """
        of = {name: each.settings() for name, each in self.sources.items()}
        named = [each.get("session") for each in of.values()]
        return {
            "joined": [
                [name, type(self.sources[name]).__name__, each] for name, each in of.items()
            ],
            **({"session": listed(dict.fromkeys(named))} if all(named) else {}),
        }

    def read(self, files: list[Path]) -> Tables:
        """Read each part by its own reader. Raises UserError as these do, or if they do not fit."""
        if self._numbers is None:
            files = self.files()
        assert self._numbers is not None
        of = iter(files)
        read = {
            name: source.read([*islice(of, number)])
            for (name, source), number in zip(self.sources.items(), self._numbers, strict=True)
        }
        dropped = sum((Counter(tables.dropped) for tables in read.values()), Counter[str]())
        events = _below(
            {name: _prefixed(name, each, "user", "item") for name, each in _events(read).items()}
        )
        return Tables(
            _in_time(events),
            _below({name: _described(name, each, "item") for name, each in read.items()}),
            _below({name: _described(name, each, "user") for name, each in read.items()}),
            dropped,
        )

    def without_targets(self, items: pl.DataFrame, split: Split) -> list[str]:
        """Sentences on parts of which validation or test ask about nothing; ``items`` are those of
        the prepared catalogue.
        """
        told, of = list[str](), items[OF].gather(split.vocabulary.tolist())
        for stage, examples in (("validation", split.val), ("test", split.test)):
            met = set(of.gather(examples.target[examples.target >= 0].tolist()))
            if examples.size and (missing := [name for name in self.sources if name not in met]):
                told.append(
                    f"The {stage} has no target of {listed(missing)}: its figures are those of the "
                    "other data alone. Where data sets end at different times a protocol of each "
                    "user's own time, such as leave_one_out, asks about all of them."
                )
        return told


def _source(name: str, node: dict[str, Any]) -> Source:
    key = f"data.parts.{name}"
    if ":" in name:
        raise UserError(f"{key}: a name with a colon could not be told from the ids behind it.")
    try:
        source = building.build(key, node)
    except UserError as error:
        told = str(error)
        raise type(error)(told if key in told else f"{key}: {told}") from error
    if getattr(source, "kind", None) != JoinedSource.kind:
        raise UserError(
            f"{key} has kind {getattr(source, 'kind', None)!r}: what is joined are logs of "
            "interactions, such as data=table, beauty or ml_100k."
        )
    if getattr(source, "graph_files", None) is not None:
        raise UserError(f"{key}.graph: joined data has no knowledge graph: say null.")
    made: Source = source
    return made


def _events(read: Mapping[str, Tables]) -> dict[str, pl.LazyFrame]:
    """The events of each part, without what others have no values of."""
    names = [set(each.interactions.collect_schema().names()) for each in read.values()]
    lost = [name for name in _WHOLE if not all(name in known for known in names)]
    fraction = any("fraction" in known for known in names) and "timestamp" not in lost
    frames = {}
    for (part, tables), known in zip(read.items(), names, strict=True):
        frame = tables.interactions
        if "timestamp" in lost:
            frame = _in_time(frame)
        if fraction and "fraction" not in known:
            frame = frame.with_columns(fraction=pl.lit(0, pl.Int32))
        gone = [name for name in lost if name in known and not (fraction and name == "fraction")]
        frames[part] = frame.drop(gone)
    return frames


def _in_time(events: pl.LazyFrame) -> pl.LazyFrame:
    """Events in the order of their times, if they have any."""
    times = [name for name in TIMED if name in events.collect_schema()]
    return events.sort(times, maintain_order=True) if times else events


def _described(name: str, tables: Tables, role: str) -> pl.LazyFrame:
    """What is known of a part's items or users, and whose they are; of those of the log alone
    where nothing else is.
    """
    table = tables.items if role == "item" else tables.users
    if table is None:
        table = tables.interactions.select(role).unique(maintain_order=True)
    if OF in table.collect_schema().names():
        raise UserError(
            f"data.parts.{name}: its table of {role}s has a column '{OF}', as joined data calls "
            "the one that says which set they are of: rename it."
        )
    return _prefixed(name, table, role).with_columns(pl.lit(name).alias(OF))


def _prefixed(name: str, frame: pl.LazyFrame, *ids: str) -> pl.LazyFrame:
    return frame.with_columns((pl.lit(f"{name}:") + pl.col(each)).alias(each) for each in ids)


def _below(frames: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Tables below one another; what one lacks is null. Raises UserError where kinds differ."""
    kinds = {name: frame.collect_schema() for name, frame in frames.items()}
    for column in dict.fromkeys(_every(kinds.values())):
        said = {name: _kind(of[column]) for name, of in kinds.items() if column in of}
        if len({*said.values()} - {"nothing"}) > 1:
            holds = (f"{kind} in {name}" for name, kind in said.items())
            raise UserError(
                f"data.parts: the column '{column}' is {listed(holds)}: rename one of them."
            )
    return pl.concat(frames.values(), how="diagonal_relaxed")


def _kind(dtype: pl.DataType) -> str:
    """What a column holds that is not taken for anything else; texts, numbers and truth values are
    ``plain``, and become texts where they meet.
    """
    if dtype.is_temporal():
        return "times with a zone" if getattr(dtype, "time_zone", None) else "times without a zone"
    return "a list" if dtype.is_nested() else "nothing" if dtype == pl.Null else "plain"


def _every(schemas: Iterable[Iterable[str]]) -> Iterable[str]:
    return (name for schema in schemas for name in schema)


def parts_in(name: str, node: Mapping[str, Any]) -> dict[str, set[str]]:
    """What stands before the ids of each part of a data set, and the part's names, as a node of
    ``data`` has them: what is called alike may hold the same events. Data that is joined of nothing
    is one part, without anything before its ids.
    """
    if not (parts := node.get("parts")):
        return {"": {name}}
    found: dict[str, set[str]] = {}
    for key, part in parts.items():
        path, names = part.get("path"), {str(key), str(part.get("name") or key)}
        stem = {Path(path).name.split(".")[0]} if isinstance(path, str) else set()
        found[f"{key}:"] = names | stem
    return found


def sets_in(name: str, node: Mapping[str, Any]) -> set[str]:
    """Names of a data set and of those that it is joined of; see :func:`parts_in`."""
    return {name}.union(*parts_in(name, node).values())
