"""``lightning-rec data``: list, prepare and check data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.commands.check import check
from lightning_rec.commands.schema import schema
from lightning_rec.commands.sets import node, settings_of
from lightning_rec.commands.usage import choices, config_folders
from lightning_rec.data.clicks.columns import lists
from lightning_rec.data.clicks.labels import groups_of, labels_of, undecided
from lightning_rec.data.clicks.table import ClickSource, LogClicks, prepare_clicks
from lightning_rec.data.core.prepared import Prepared
from lightning_rec.data.fetch import PublicData, cache_dir
from lightning_rec.data.matching.pairs import PairSource, prepare_pairs
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Source
from lightning_rec.data.statistics import statistics
from lightning_rec.errors import UserError, listed
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
List the known data sets, prepare one and show its figures, or check a file of
your own.

usage: lightning-rec data
       lightning-rec data name=NAME [key=value]
       lightning-rec data check PATH [user=COLUMN item=COLUMN time=COLUMN
                                      rating=COLUMN key=value]
       lightning-rec data check name=NAME [key=value]
       lightning-rec data schema PATH [label=COLUMN group=COLUMN time=COLUMN
                                       weight=COLUMN positive_from=NUMBER
                                       decimal=comma name=NAME out=FOLDER]
       lightning-rec data schema PATH [catalogue=FILE] [users=FILE] [user=COLUMN
                                       item=COLUMN key=value protocol=NAME
                                       name=NAME out=FOLDER]

NAME is one of the list; the keys are those of its config. 'check' guesses what
is not said of a log, tells all that is wrong with it and the line that trains
on it, and exits with 1 if it cannot be used as it is. 'schema' guesses what the
columns of a table of clicks mean, and writes FOLDER/data/NAME.yaml (my_conf, if
no FOLDER is named), to be edited; of a log with tables about its items and users
also FOLDER/experiment/NAME.yaml, for a model that reads what they say.

All take --config-dir FOLDER: sets of your own in FOLDER/data have names too.

Examples:
  lightning-rec data name=ml_100k
  lightning-rec data name=table path=log.csv user=uid item=sku time=ts
  lightning-rec data name=frappe
  lightning-rec data name=home_depot
  lightning-rec data check log.csv
  lightning-rec data check log.csv user=uid item=sku time=ts
  lightning-rec data check --config-dir my_conf name=shop
  lightning-rec data schema clicks.csv label=clicked
  lightning-rec data schema log.csv catalogue=items.csv users=users.csv
"""
_TOP = 5
_OWN = {"interactions": "your own log", "clicks": "your own clicks", "pairs": "your own pairs"}


def run(arguments: list[str]) -> int:
    """List, prepare or check; returns the exit status. Raises UserError on bad input."""
    console = Screen()
    folders, arguments = config_folders(arguments)
    if not arguments:
        _list(folders, console)
        return 0
    if of_file := {"check": check, "schema": schema}.get(arguments[0]):
        return of_file(arguments[1:], folders, console)
    settings = settings_of(arguments)
    if "name" not in settings:
        raise UserError(
            "Say which data set: lightning-rec data name=NAME (lightning-rec data lists them)."
        )
    _prepare(node(str(settings.pop("name")), folders), settings, console)
    return 0


def _list(folders: list[Path], console: Screen) -> None:
    """Print the known data sets, and where those lie that are here."""
    numbers = figures("users", "items", "rows", "download MB")
    table = FittedTable("Data sets", [*text("name", "title"), *numbers, *text("here", "licence")])
    found = {}
    for name in sorted(choices(folders)["data"]):
        known = node(name, folders)
        source: Any = config.target("data", known)
        public = getattr(source, "public", None)
        if not isinstance(public, PublicData):
            kind = _OWN.get(getattr(source, "kind", ""), "your own data")
            own = "files put there" if known.get("path") else kind
            table.add_row(name, own, "", "", "", "", "", "yours")
            continue
        files = public.here()
        counts = [f"{count:,}" if count else "" for count in (public.users, public.items)]
        counts.append(f"{public.events:,}")
        here = "yes" if files else "no"
        table.add_row(name, public.title, *counts, f"{public.megabytes:g}", here, public.licence)
        if files:
            found[name] = files[0].parent
    console.print(table)
    for name, folder in found.items():
        console.print(f"{name} lies in {folder}", soft_wrap=True, highlight=False)


def _prepare(known: dict[str, Any], settings: dict[str, Any], console: Screen) -> None:
    source = config.build("data", OmegaConf.merge(known, settings))
    if (kind := getattr(source, "kind", None)) not in _PREPARED:
        raise UserError(
            f"data._target_={known['_target_']} has kind {kind!r}, but has to say kind = "
            f"{listed(map(repr, _PREPARED))}."
        )
    data, facts, more = _PREPARED[kind](source)
    table = FittedTable(data.info["name"], text("", ""), header=False)
    for fact in (
        *facts,
        ("licence", data.info["licence"]),
        ("data hash", data.info["data_hash"][:12]),
    ):
        table.add_row(*fact)
    console.print(table)
    if more is not None:
        console.print(more)
    console.print(f"Prepared in {data.folder}", soft_wrap=True, highlight=False)


Facts = list[tuple[str, str]]


def _interactions(source: Source) -> tuple[Prepared, Facts, FittedTable]:
    """Statistics of a log, and the items with most events, by title where there are titles."""
    data = prepare(source, cache_dir())
    facts = statistics(data.events).rows()
    if without := data.info["items_without_events"]:
        facts.append(("items without events", f"{without:,}"))
    counts = data.events.group_by("item").agg(pl.len().alias("events"))
    top = counts.sort(["events", "item"], descending=[True, False]).head(_TOP).collect()
    items = data.items
    named = "title" if "title" in items.columns else "item"
    table = FittedTable(f"Top {_TOP}", [*text("item"), *figures("events")])
    for code, events in top.iter_rows():
        described = items.row(code, named=True)
        table.add_row(str(described[named] or described["item"]), f"{events:,}")
    return data, facts, table


def _clicks(source: ClickSource | LogClicks) -> tuple[Prepared, Facts, FittedTable]:
    """The share of each label, and how many values each feature has."""
    clicks = prepare_clicks(source, cache_dir())
    fields, rows = source.fields, clicks.info["rows"]
    group = groups_of(clicks, fields) if fields.returns else None
    labels = labels_of(clicks, fields, group).reshape(rows, -1)
    labels = labels[~undecided(clicks, fields, group)]
    facts = [("rows", f"{rows:,}")]
    for goal, rate in zip(fields.targets, labels.mean(axis=0), strict=True):
        facts.append((f"{goal}s" if fields.label else goal, f"{rate:.2%}"))
    features = FittedTable("Features", [*text("feature", "kind"), *figures("distinct")])
    for kind in ("categorical", "numeric"):
        for name in getattr(fields, kind):
            column = clicks.rows.select(pl.col(name).n_unique())
            number = column.collect(engine="streaming").item()
            features.add_row(name, kind, f"{number:,}")
    for name in fields.multi_valued:
        sign = fields.parted_by(name)
        parted = (lists(frame[name], sign) for _, frame in clicks.blocks(name))
        number = pl.concat(values.explode().unique() for values in parted).n_unique()
        features.add_row(name, "multi_valued", f"{number:,}")
    return clicks, facts, features


def _pairs(source: PairSource) -> tuple[Prepared, Facts, None]:
    """Counts, and the distribution of relevance."""
    pairs = prepare_pairs(source, cache_dir())
    (low, high), relevance = pairs.scale, pairs.relevance
    spread = f"{relevance.mean():.2f} ± {relevance.std():.2f}, from {low:g} to {high:g}"
    relevant = f"relevant, from {pairs.info['positive_from']:g} on"
    facts = [(name, f"{count:,}") for name, count in pairs.info["counts"].items()]
    facts += [("relevance", spread), (relevant, f"{pairs.positive.mean():.2%}")]
    return pairs, facts, None


_PREPARED: dict[str, Callable[..., tuple[Prepared, Facts, FittedTable | None]]] = {
    "interactions": _interactions,
    "clicks": _clicks,
    "pairs": _pairs,
}
