"""Checking a user's file: everything that is wrong or odd about it, at once."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from lightning_rec.data import propose
from lightning_rec.data.columns import Log, read_log, told_dropped
from lightning_rec.data.kinds import kinds_in, values_of
from lightning_rec.data.lines import Ragged
from lightning_rec.data.oddities import garbled, oddities, repeats
from lightning_rec.data.plain import Unfit
from lightning_rec.data.repeats import TOLD_FROM
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.statistics import Statistics, statistics
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.data.ties import tied
from lightning_rec.errors import UserError, listed
from lightning_rec.streams import visible
from lightning_rec.tables import FittedTable, text


@dataclass
class Report:
    """What was found in a file.

    errors: faults that keep it from being used, one sentence each; warnings: what is worth a look.
    statistics: of the rows that can be read; None if none can.
    droppable: whether all errors are of single rows, which can be left out.
    units: what the events are cut into: users, or sessions.
    repeated: events that have the user and item of an earlier one, copies apart.
    shuffle: whether the events of one moment are sorted, and had better be shuffled.
    command: the line that trains on the file; None if nothing does.
    settings: of ``data=table`` that read the file, but for its path; chosen: what else that line
        says.
    """

    path: Path
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statistics: Statistics | None = None
    droppable: bool = False
    units: str = "users"
    repeated: int = 0
    shuffle: bool = False
    command: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the file can be used as it is."""
        return not self.errors

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.statistics is not None:
            grid = FittedTable(self.path.name, text("", ""), header=False)
            for name, value in self.statistics.rows(self.units):
                grid.add_row(name, value)
            parts.append(grid)
        parts += [Text(visible(f"error: {error}"), style="red") for error in self.errors]
        parts += [Text(visible(f"warning: {warning}"), style="yellow") for warning in self.warnings]
        kinds = (("error", self.errors), ("warning", self.warnings))
        found = [f"{len(all_)} {kind}{'s' * (len(all_) > 1)}" for kind, all_ in kinds if all_]
        verdict = listed(found) or "nothing to complain about"
        parts.append(Text(visible(f"{self.path}: {verdict}.")))
        if self.command is not None:
            parts.append(Text(f"To train on it:\n{self.command}"))
        return Group(*parts)


def check_file(path: Path, **given: Any) -> Report:
    """Read a file through and report all that is wrong with it, and the line that trains on it.
    ``given`` are settings of ``data=table``; what is needed and not among them is guessed.
    """
    learned: dict[str, Any] = {}  # settings that faults have told, one by one
    told = Report(path)
    while True:
        report, settings = Report(path), {**given, **learned}
        try:
            _checked(path, settings, report)
        except UserError as error:
            if isinstance(error, Unfit) and not set(error.settings) & set(settings):
                learned |= error.settings
                if isinstance(error, Ragged):
                    told.errors.append(str(error))
                else:
                    told.warnings.append(f"{error} {_listed(error.settings)} is taken.")
                continue
            report.errors.append(str(error))
        break
    report.droppable |= report.ok and bool(told.errors)
    report.errors = list(dict.fromkeys(told.errors + report.errors))
    report.warnings = told.warnings + report.warnings
    if report.statistics is not None and (report.ok or report.droppable):
        drop = {"invalid": "drop"} if report.errors else {}
        repeated = report.repeated > TOLD_FROM * report.statistics.events
        report.chosen = propose.protocol(settings, repeated=repeated)
        ties = {"ties": "shuffle"} if report.shuffle else {}
        report.settings = {**settings, **drop, **ties}
        report.command = propose.command(path, report.settings, report.chosen)
    return report


def _listed(settings: Mapping[str, Any]) -> str:
    return listed(f"{key}={value}" for key, value in settings.items())


def _checked(path: Path, settings: dict[str, Any], report: Report) -> None:
    """Complete the settings, read the columns, and report. Raises UserError, or Unfit."""
    described = propose.described(path, settings)
    settings |= described
    if told := _listed(described):
        report.warnings.append(f"{path} seems to have no header; this is taken: {told}.")
    form = {
        key: given for key, given in settings.items() if key not in (*propose.ROLES, "path", "ties")
    }
    dialect = TableSource(str(path), "user", "item", **form).dialect
    table = open_table(path, dialect, settings.get("invalid", "error"))
    report.warnings += garbled(table)
    bare = not {"user", "item"} & set(settings)
    found = propose.roles(table, settings)
    if "session" in settings:
        found.pop("user", None)  # sessions stand where users would
    report.warnings += _named(table, {**settings, **found})
    report.errors += _unnamed(table, {*settings, *found, *dialect.named})
    for role, column in found.items():
        if column in dialect.named:
            continue  # read without being named
        if role in ("user", "item") or (bare and role in propose.ROLES):
            report.warnings.append(
                f"The {role} column is not named; '{column}' is taken: {role}={column}."
            )
        elif role == "time":
            report.warnings.append(
                f"No column of times is named; '{column}' seems to hold them and is taken: "
                f"time={column}."
            )
        else:
            continue
        settings[role] = column
    if not report.errors:
        _read_parts(path, table, settings, report)


def _read_parts(path: Path, table: Table, settings: dict[str, Any], report: Report) -> None:
    item = str(settings.get("item", "item"))
    if "form" not in settings and propose.holds_lists(table, item):
        report.warnings.append(f"Column '{item}' holds lists: a row is many events, form=lists.")
        settings["form"] = "lists"
    if clicks := propose.label(table, settings.values()):
        report.warnings.append(
            f"Column '{clicks}' says whether somebody clicked: a table of clicks is read by "
            f"'lightning-rec data schema {path} label={clicks}' (docs/clicks.md); as a log, every "
            "row counts as chosen."
        )
    if "keep" not in settings and (kinds := kinds_in(table, settings.values())):
        report.warnings.append(
            f"Column '{kinds}' seems to say what kind of event a row is "
            f"({values_of(table, kinds)}): all count alike. Some of them alone are kept by "
            f"'data.keep={{{kinds}: [VALUE]}}'."
        )
    source = TableSource(str(path), **settings)
    report.units = "sessions" if settings.get("session") else "users"
    for about in source.about.values():
        for odd in garbled(about.table()):
            report.warnings.append(odd.replace("data.encoding", f"data.{about.setting}_encoding"))
    log = _read(open_table(path, source.dialect, source.invalid), source, report)
    if log.rows:
        compare(log, source, report)
    for part in list(source.paths.values())[1:]:
        more = open_table(part, source.dialect, source.invalid)
        report.errors += read_log(more, source.roles, source.invalid).faults
    if log.remedy and not set(log.remedy) & set(settings):
        raise Unfit(log.faults[0], **log.remedy)


def compare(log: Log, source: TableSource, report: Report) -> None:
    """Report tables beside the log that cannot be used, and ids of the log that these lack."""
    for about in source.about.values():
        try:
            rows = about.read()
        except UserError as error:
            report.errors.append(str(error))
            report.droppable = False
            continue
        found = log.frame.select(pl.col(about.role).drop_nulls().unique().sort())
        lacking = found.join(rows, on=about.role, how="anti").collect()[about.role].sort()
        if len(lacking):
            title = "title and no " if about.role == "item" else ""
            report.warnings.append(
                f"{about.path} has no row of {len(lacking):,} {about.role}s of the log, such as "
                f"{listed(lacking.head(3))}: they have no {title}features."
            )


def _unnamed(table: Table, roles: Collection[str]) -> Iterator[str]:
    names = table.schema.names()
    above = ""
    if table.is_text and len(names) == 1:
        above = " Does the table begin further down? Remove what stands above its header."
    if "user" not in roles and (query := propose.texts(names)):
        above += (
            f" If '{query}' is what was searched for, these are texts to match: "
            f"'lightning-rec data name=pairs path={table.path} query={query} title=COLUMN'."
        )
    for role in ("item",) if "session" in roles else ("user", "item"):
        if role not in roles:
            yield (
                f"Which column holds the {role} ids? Say {role}=COLUMN; "
                f"there are: {listed(names)}.{above}"
            )


def _named(table: Table, roles: Mapping[str, Any]) -> Iterator[str]:
    """What names may mislead in: those that differ in case alone, and times that are no events'."""
    if "time" not in roles and (dates := propose.unlike_events(table, roles.values())):
        yield (
            f"{listed(dates)}: times of users or items, by the name, and none of events; say "
            "time=COLUMN if they are."
        )
    for role in propose.ROLES:
        name = str(roles.get(role))
        others = [each for each in table.schema if each.lower() == name.lower() and each != name]
        if others and name in table.schema:
            yield f"Column '{name}' is the {role}, not {listed(others)}: they differ in case alone."


def _read(table: Table, source: TableSource, report: Report) -> Log:
    log = read_log(table, source.roles, source.invalid)
    report.errors += log.faults
    report.droppable = log.droppable
    if log.dropped:
        report.warnings.append(f"{told_dropped(log.dropped)}.")
    sound = log.frame.drop_nulls()
    if log.rows and (figures := statistics(sound)).events:
        report.statistics = figures
        report.warnings += oddities(sound, figures, report.units)
        named = [name for name in source.roles.named().values() if name]
        whole = set(named) == set(table.schema.names())
        report.repeated, told = repeats(sound, figures, named, report.units, whole=whole)
        report.warnings += told
        if figures.ties and source.ties == "file":
            report.shuffle, told = tied(sound, figures.ties)
            report.warnings += told
    return log
