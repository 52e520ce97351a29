"""``lightning-rec data``: list, prepare and check data sets."""

from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.commands.check import check
from lightning_rec.commands.schema import schema
from lightning_rec.commands.sets import names, node, pairs_of
from lightning_rec.commands.usage import config_folders
from lightning_rec.data.clicks.columns import label, lists
from lightning_rec.data.clicks.table import ClickSource, LogClicks, prepare_clicks
from lightning_rec.data.fetch import PublicData, cache_dir
from lightning_rec.data.matching.pairs import PairSource, prepare_pairs
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.statistics import statistics
from lightning_rec.errors import UserError
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
                                       name=NAME out=FOLDER]

NAME is one of the list; the keys are those of its config. 'check' guesses what
is not said of a log, tells all that is wrong with it and the line that trains
on it, and exits with 1 if it cannot be used as it is. 'schema' guesses what the
columns of a table of clicks mean, and writes FOLDER/data/NAME.yaml (my_conf, if
no FOLDER is named), to be edited.

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
"""
_TOP = 5


def run(arguments: list[str]) -> int:
    """List, prepare or check; returns the exit status. Raises UserError on bad input."""
    console = Screen()
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    folders, arguments = config_folders(arguments)
    if not arguments:
        _list(folders, console)
        return 0
    if arguments[0] == "check":
        return check(arguments[1:], folders, console)
    if arguments[0] == "schema":
        return schema(arguments[1:], folders, console)
    settings = pairs_of(arguments)
    if "name" not in settings:
        raise UserError(
            "Say which data set: lightning-rec data name=NAME (lightning-rec data lists them)."
        )
    _prepare(node(settings.pop("name"), folders), settings, console)
    return 0


def _list(folders: list[Path], console: Screen) -> None:
    """Print the known data sets, and where those lie that are here."""
    numbers = figures("users", "items", "rows", "MB")
    table = FittedTable("Data sets", [*text("name", "title"), *numbers, *text("here", "licence")])
    found = {}
    for name in names(folders):
        known = node(name, folders)
        public = getattr(config.target("data", known), "public", None)
        if not isinstance(public, PublicData):
            own = "your own clicks" if "fields" in known else "your own log"
            if "positive_from" in known:
                own = "your own pairs"
            if known.get("path"):
                own = "files put there"
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


def _prepare(known: dict[str, Any], settings: dict[str, str], console: Screen) -> None:
    """Prepare a data set, by its config, and print its figures."""
    # Values are read as YAML, as Hydra's are: 'null' is None, 'true' a boolean.
    given = OmegaConf.from_dotlist([f"{key}={value}" for key, value in settings.items()])
    source = config.build("data", config.plain(OmegaConf.merge(known, given)))
    if "fields" in known:
        _prepare_clicks(source, console)
        return
    if "positive_from" in known:
        _prepare_pairs(source, console)
        return
    data = prepare(source, cache_dir())
    info = data.info
    table = FittedTable(info["name"], text("", ""), header=False)
    for key, value in statistics(data.events).rows():
        table.add_row(key, value)
    if info["items_without_events"]:
        table.add_row("items without events", f"{info['items_without_events']:,}")
    table.add_row("licence", info["licence"])
    table.add_row("data hash", info["data_hash"][:12])
    console.print(table)
    console.print(_top(data))
    console.print(f"Prepared in {data.folder}", soft_wrap=True, highlight=False)


def _prepare_clicks(source: ClickSource | LogClicks, console: Screen) -> None:
    """Prepare a data set of clicks and print its figures, and what its features hold."""
    clicks = prepare_clicks(source, cache_dir())
    info, fields = clicks.info, source.fields
    table = FittedTable(info["name"], text("", ""), header=False)
    table.add_row("rows", f"{info['rows']:,}")
    labels = label(clicks, fields).reshape(info["rows"], -1)
    for goal, rate in zip(fields.targets, labels.mean(axis=0), strict=True):
        table.add_row(f"{goal}s" if fields.label else goal, f"{rate:.2%}")
    table.add_row("licence", info["licence"])
    table.add_row("data hash", info["data_hash"][:12])
    console.print(table)
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
    console.print(features)
    console.print(f"Prepared in {clicks.folder}", soft_wrap=True, highlight=False)


def _prepare_pairs(source: PairSource, console: Screen) -> None:
    """Prepare a data set of pairs and print its figures."""
    pairs = prepare_pairs(source, cache_dir())
    info, relevance = pairs.info, pairs.relevance
    table = FittedTable(info["name"], text("", ""), header=False)
    for name, count in info["counts"].items():
        table.add_row(name, f"{count:,}")
    low, high = pairs.scale
    spread = f"{relevance.mean():.2f} ± {relevance.std():.2f}"
    table.add_row("relevance", f"{spread}, from {low:g} to {high:g}")
    table.add_row(f"relevant, from {info['positive_from']:g} on", f"{pairs.positive.mean():.2%}")
    table.add_row("licence", info["licence"])
    table.add_row("data hash", info["data_hash"][:12])
    console.print(table)
    console.print(f"Prepared in {pairs.folder}", soft_wrap=True, highlight=False)


def _top(data: Interactions) -> FittedTable:
    """The items with most events, by title where there are titles."""
    counts = data.events.group_by("item").agg(pl.len().alias("events"))
    top = counts.sort(["events", "item"], descending=[True, False]).head(_TOP).collect()
    items = data.items
    named = "title" if "title" in items.columns else "item"
    table = FittedTable(f"Top {_TOP}", [*text("item"), *figures("events")])
    for code, events in top.iter_rows():
        described = items.row(code, named=True)
        table.add_row(str(described[named] or described["item"]), f"{events:,}")
    return table
