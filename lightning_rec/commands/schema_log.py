"""``lightning-rec data schema PATH catalogue=FILE users=FILE``: configs for a log and what is about
its items and users, guessed, to be edited: one of the data, one of an experiment that reads it all.
"""

import shlex
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lightning_rec.config import as_override
from lightning_rec.data.check import Report, check_file, compare
from lightning_rec.data.columns import read_log
from lightning_rec.data.propose_beside import beside, opened
from lightning_rec.data.side import DERIVED
from lightning_rec.data.sources.table import TAKEN, TableSource
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError, listed
from lightning_rec.files import write_text
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

BESIDE = {"catalogue": "item", "users": "user"}  # tables beside the log, and whose they are
_HEAD = "# Guessed from the files by 'lightning-rec data schema': check every line.\n"
_COMPARE = (
    "The first knows items by their ids alone, the second reads what the tables say; "
    "'lightning-rec compare' says whether that helps."
)
_TAKEN = {
    "name": "left out: most have one of their own",
    "category": "categories",
    "code": "categories: few whole numbers",
    "number": "a number",
    "rating": "ratings",
    "derived": "told by the times",
}
_KEPT = ("category", "code", "number")  # columns of events that the data has to keep
_HEAD_ROWS = 100_000  # of a log, by which columns of events are told


def schema_log(
    path: Path,
    given: dict[str, Any],
    folder: Path,
    name: str,
    protocol: str | None,
    console: Screen,
) -> int:
    """Guess, show and write the configs; 1, and nothing written, where the log cannot be used."""
    targets = {group: folder / group / f"{name}.yaml" for group in ("data", "experiment")}
    for target in targets.values():
        if target.exists():
            raise UserError(f"{target} is there already: edit it, remove it, or say name= or out=.")
    apart = {key: value for key, value in given.items() if key.split("_")[0] not in BESIDE}
    report = check_file(path, **apart)
    settings = {"name": name, "path": str(path), **report.settings, **given}
    if report.settings:
        settings |= _beside(path, report, settings)
    report.command = None
    console.print(report, soft_wrap=True)
    if not report.settings or not (report.ok or report.droppable):
        return 1
    chosen = report.chosen if protocol is None else {"protocol": protocol}
    of_events = _of_events(path, settings)
    if kept := [name for name, kind in of_events.items() if kind in _KEPT]:
        settings["features"] = kept
    write_text(targets["data"], f"{_HEAD}defaults: [table, _self_]\n\n{_yaml(settings)}")
    reads = _offer(settings, of_events, console)
    plain = [f"{key}={as_override(value)}" for key, value in {"model": "sasrec", **chosen}.items()]
    lines = [[f"data={as_override(name)}", *plain]]
    if "model" in chosen:  # the log tells no order: no model of sequences reads it
        del targets["experiment"]
    else:
        write_text(targets["experiment"], _experiment(name, chosen, reads))
        lines.append([f"experiment={as_override(name)}"])
    told = listed(map(str, targets.values()))
    console.print(f"Written: {told}. Look at it and edit it, then", soft_wrap=True)
    for words in lines:
        line = shlex.join(["lightning-rec", "train", "--config-dir", str(folder), *words])
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    if len(lines) > 1:
        console.print(_COMPARE, soft_wrap=True)
    return 0


def _beside(path: Path, report: Report, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the tables beside the log, and their faults in the report."""
    source = TableSource(str(path), **report.settings)
    log = read_log(open_table(path, source.dialect, source.invalid), source.roles, source.invalid)
    found: dict[str, Any] = {}
    for setting, role in BESIDE.items():
        if setting in settings:
            ids = log.frame.select(pl.col(role).drop_nulls().unique()).collect().to_series()
            about = Path(settings[setting]).expanduser()
            found |= beside(about, setting, role, ids, settings)
    compare(log, TableSource(**settings | found), report)
    return found


def _of_events(path: Path, settings: dict[str, Any]) -> dict[str, str]:
    """What the log says of an event beside who and what: columns, and what each is taken for."""
    from lightning_rec.items.features import offered

    source = TableSource(**settings)
    table = open_table(path, source.dialect, source.invalid)
    if source.dialect.form != "rows" or source.roles.history is not None:
        return {}
    named, found = source.roles.named(), {}
    if (rating := named.get("rating")) is not None:
        found[rating] = "rating"
    if "time" in named:
        found |= dict.fromkeys(DERIVED, "derived")
    head = table.collect(table.frame.head(_HEAD_ROWS))
    rest = head.select(name for name in head.columns if name not in named.values())
    rest = rest.select(name for name in rest.columns if name not in TAKEN)
    flat = rest.select(name for name in rest.columns if not rest[name].dtype.is_nested())
    flat = flat.select(name for name in flat.columns if flat[name].n_unique() > 1)
    return found | {name: str(kind) for name, kind in offered(flat).items()}


def _offer(
    settings: dict[str, Any], of_events: dict[str, str], console: Screen
) -> dict[str, dict[str, str]]:
    """Show what the columns of the tables are taken for: by table, those that models read."""
    from lightning_rec.items.features import offered

    found: dict[str, dict[str, str]] = {}
    heads = [*text("table", "column"), *figures("distinct"), *text("taken for")]
    shown = FittedTable("Columns", heads)
    for column, kind in of_events.items():
        shown.add_row("log", column, "", _TAKEN[kind])
    found["log"] = {
        "rating" if kind == "rating" else column: kind
        for column, kind in of_events.items()
        if kind != "name"
    }
    for setting, role in BESIDE.items():
        if setting not in settings:
            continue
        table = opened(Path(settings[setting]).expanduser(), setting, settings)
        rows = table.collect(table.frame)
        roles = {settings[f"{setting}_{role}"]: f"{role} ids"}
        if title := settings.get(f"{setting}_title"):
            roles[title] = "titles"
        kinds = offered(rows.drop(list(roles)))
        for column in rows.columns:
            taken = roles.get(column) or _TAKEN[kinds[column]]
            shown.add_row(setting, column, f"{rows[column].n_unique():,}", taken)
        found[setting] = {column: kind for column, kind in kinds.items() if kind != "name"}
    console.print(shown)
    return found


def _experiment(name: str, chosen: dict[str, Any], reads: dict[str, dict[str, str]]) -> str:
    """The config of an experiment that reads what the tables say."""
    beside: list[dict[str, str]] = []  # Hydra wants them before what is overridden
    overridden = [{"override /data": name}, {"override /model": "sasrec"}]
    if "protocol" in chosen:
        overridden.append({"override /protocol": chosen["protocol"]})
    node: dict[str, Any] = {}
    for key, value in chosen.items():
        if key.startswith("protocol."):
            node.setdefault("protocol", {})[key.removeprefix("protocol.")] = value
    if items := reads.get("catalogue"):
        beside += [{"/item@item.parts.ids": "own"}, {"/item@item.parts.features": "features"}]
        overridden.append({"override /item": "sum"})
        codes = [column for column, kind in items.items() if kind == "code"]
        features = {"columns": [*items], **({"categories": codes} if codes else {})}
        node["item"] = {"parts": {"features": features}}
    columns = {key: [*reads.get(of, {})] for key, of in (("events", "log"), ("users", "users"))}
    if any(columns.values()):
        node["task"] = {key: names for key, names in columns.items() if names}
    written = _yaml({"defaults": [*beside, *overridden, "_self_"]})
    return f"# @package _global_\n{_HEAD}{written}" + (f"\n{_yaml(node)}" if node else "")


def _yaml(node: dict[str, Any]) -> str:
    return yaml.safe_dump(node, sort_keys=False, allow_unicode=True, default_flow_style=None)
