"""The log of requests of ``lightning-rec serve``: what users were shown, and what they then did.

Nothing in it says which answer an event is about. An event counts for the latest answer before it
that had the item and went to the same user: that answer's item was clicked.
"""

import glob
import gzip
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from io import BufferedIOBase, BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.trials.users import only_one

log = logging.getLogger(__name__)

ANSWERS = ("/recommend", "/search")
_LINE: dict[str, Any] = {
    "at": pl.String, "id": pl.String, "path": pl.String, "status": pl.Int64, "user": pl.String,
    "experiment": pl.String, "variant": pl.String, "items": pl.List(pl.String),
    "propensities": pl.List(pl.Float64), "teams": pl.List(pl.String), "value": pl.Float64,
}  # fmt: skip
WATCHED: dict[str, Any] = {
    "ms": pl.Float64, "code": pl.String, "k": pl.Int64, "model": pl.String,
    "history": pl.List(pl.String), "length": pl.Int64, "scores": pl.List(pl.Float64),
}  # fmt: skip
"""What else a line tells, of answers and of how they went."""


class Requests(NamedTuple):
    """lists: an answer a row: ``order`` (in time), ``id``, ``user``, ``experiment``, ``variant``,
    ``items`` and, as long as these or null, ``propensities`` and ``teams``.
    events: ``user``, ``item``, ``order`` of each item of an event.
    values: ``user``, ``value``, ``order`` of each event that had one.
    clicks: ``order`` and ``item`` of what was clicked of an answer.
    """

    lists: pl.DataFrame
    events: pl.DataFrame
    values: pl.DataFrame
    clicks: pl.DataFrame


def are_request_logs(paths: Sequence[Path]) -> bool:
    """Whether files, packed by gzip or not, begin as request logs do; a log that was just begun is
    empty. Raises UserError where all are empty.
    """
    heads = [_head(path) for path in paths]
    if not any(heads):
        raise UserError(f"{listed(paths)} is empty: nothing was asked since it was begun.")
    marks = (b'"path"', b'"status"')
    return all(
        not head or (head.startswith(b'{"at"') and all(mark in head for mark in marks))
        for head in heads
    )


def lines_of(paths: Sequence[Path], more: Mapping[str, Any] = MappingProxyType({})) -> pl.DataFrame:
    """All lines of the logs of one server or several, in the order of time, numbered by ``order``,
    with ``time`` (Datetime, UTC); what stands there twice, as in copies of a log, once.

    ``more``: further columns and their types. Raises UserError for a file that is no such log, and
    for times that cannot be read.
    """
    if not are_request_logs(paths):
        raise UserError(f"{listed(paths)}: no log of requests, as 'serve log=FILE' writes it.")
    schema = _LINE | dict(more)
    rows = pl.concat(_read(path, schema) for path in paths if path.stat().st_size)
    first = rows.select(pl.struct("id", "at", "path").is_first_distinct()).to_series()
    kept = rows.filter(first | rows["id"].is_null())
    if again := len(rows) - len(kept):
        log.warning(
            "%s: %s of %s lines stand there twice, by id, time and path: each counts once.",
            listed(paths), f"{again:,}", f"{len(rows):,}",
        )  # fmt: skip
    kept = kept.with_columns(time=_time(pl.col("at")))
    if len(odd := kept.filter(pl.col("time").is_null())):
        raise UserError(
            f"{listed(paths)}: the time of {len(odd):,} of {len(kept):,} lines cannot be read, the "
            f"first is {odd['at'][0]!r}: 'serve' writes 2026-11-29T05:15:27.228Z."
        )
    return kept.sort("time", maintain_order=True).with_row_index("order")


def read_requests(paths: Sequence[Path]) -> Requests:
    """Read the logs of one server or several, in the order of time.

    Raises UserError for a file that is no such log, or that names no items or users.
    """
    rows = lines_of(paths).filter(pl.col("status") == 200)
    told = rows.filter(pl.col("items").is_not_null())
    if not len(told):
        raise UserError(
            f"{listed(paths)} names no items: serve with log_items=true, which experiment= implies."
        )
    told = told.filter(pl.col("user").is_not_null())
    if not len(told):
        raise UserError(
            f"{listed(paths)} names no users: ask with user= or unit=, and serve with log_ids=hash "
            "or plain."
        )
    lists = told.filter(pl.col("path").is_in(ANSWERS)).drop("at", "time", "path", "status", "value")
    done = told.filter(pl.col("path") == "/events")
    values = done.select("user", "value", "order").drop_nulls()
    events = done.select("user", "order", item="items").explode("item")
    return Requests(lists, events, values, _clicks(lists, events))


def _opened(path: Path) -> BufferedIOBase:
    """A log, unpacked if need be."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if packed else path.open("rb")


def _head(path: Path) -> bytes:
    """The first line of a file; of what is none, or no whole archive, something that is no log."""
    if not path.is_file():
        return b"-"
    try:
        with _opened(path) as stream:
            return stream.readline(2**20)
    except (OSError, EOFError, zlib.error):
        return b"-"


def _read(path: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """The lines of a log; those that are not whole, as where a server was killed, are left out.

    Raises UserError where a value is not of its type.
    """
    try:
        return pl.scan_ndjson(glob.escape(str(path)), schema=dict(schema)).collect()
    except (pl.exceptions.PolarsError, OSError):  # of an archive that is cut off, the latter
        pass
    kept, cut = BytesIO(), 0
    try:
        with _opened(path) as stream:
            for line in stream:
                try:
                    json.loads(line)
                except ValueError:
                    cut += 1
                else:
                    kept.write(line.rstrip(b"\n") + b"\n")
    except (EOFError, zlib.error):
        raise UserError(f"{path} is an archive that is cut off: pack it anew.") from None
    if cut:
        log.warning("%s: lines that are not whole are left out, %s of them.", path, f"{cut:,}")
    kept.seek(0)
    try:
        return pl.read_ndjson(kept, schema=dict(schema))
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path} has a line that 'serve' would not write: {error}.") from None


def _time(at: pl.Expr) -> pl.Expr:
    """Moments as ISO 8601 writes them, with a zone or in UTC: Datetime, UTC; null for others."""
    zoned = at.str.replace("Z$", "+00:00")
    read = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    plain = at.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return pl.coalesce(read.dt.convert_time_zone("UTC").dt.replace_time_zone(None), plain)


def _clicks(lists: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """What was clicked: of each event the latest answer before it that had its item."""
    known = lists.select("user", "order", item="items").join(events, "user", "semi")
    known = known.filter(pl.col("item").list.len() > 0).explode("item")
    known = known.join(events, ["user", "item"], "semi").with_columns(_order=pl.col("order"))
    latest = events.sort("order").join_asof(
        known.sort("order"),
        on="order", by=["user", "item"], strategy="backward", check_sortedness=False,
    )  # fmt: skip
    return latest.select("item", order="_order").drop_nulls().unique()


def shown(requests: Requests, lists: pl.DataFrame) -> pl.DataFrame:
    """Each item of some answers: ``rank``, ``item``, ``propensity``, ``team``, ``clicked``."""
    length = pl.col("items").list.len()
    filled = [
        pl.col(name).fill_null(pl.lit(None, inner).repeat_by(length)).alias(name)
        for name, inner in (("propensities", pl.Float64), ("teams", pl.String))
    ]
    ranks = pl.int_ranges(1, length + 1).alias("rank")
    rows = lists.filter(length > 0).with_columns(*filled, ranks)
    rows = rows.explode("items", "propensities", "teams", "rank")
    rows = rows.rename({"items": "item", "propensities": "propensity", "teams": "team"})
    clicks = requests.clicks.with_columns(clicked=pl.lit(True))
    rows = rows.join(clicks, ["order", "item"], "left", maintain_order="left")
    return rows.with_columns(pl.col("clicked").fill_null(False))


def of_experiment(requests: Requests, experiment: str | None) -> pl.DataFrame:
    """The answers of an experiment, the only one if none is named. Raises UserError."""
    known = requests.lists["experiment"].drop_nulls().unique().sort().to_list()
    if not known:
        raise UserError("The log has no variants: serve with experiment=, variants= and shares=.")
    if experiment is None and len(known) > 1:
        raise UserError(f"The log has several experiments: say experiment=, of {listed(known)}.")
    if experiment is not None and experiment not in known:
        raise UserError(f"experiment={experiment} is not in the log.{suggest(experiment, known)}")
    return requests.lists.filter(pl.col("experiment") == (experiment or known[0]))


def users_of_requests(requests: Requests, lists: pl.DataFrame) -> pl.DataFrame:
    """The users of the answers of an experiment, with their figures.

    ``user``, ``variant``, ``lists`` (answers), ``shown`` (items of them), ``clicks`` (of these),
    ``events`` (all items of events since it began), ``before`` (those before that), and ``value``,
    the sum of what events since it began were worth.
    """
    begun: Any = lists["order"].min()
    clicked = requests.clicks.group_by("order").len("_clicks")
    users = lists.join(clicked, "order", "left").group_by("user").agg(
        pl.col("variant").first(),
        pl.col("variant").n_unique().alias("_variants"),
        pl.len().alias("lists"),
        pl.col("items").list.len().sum().alias("shown"),
        pl.col("_clicks").sum().alias("clicks"),
    )  # fmt: skip
    late = pl.col("order") > begun
    counted = requests.events.group_by("user").agg(
        late.sum().alias("events"), late.not_().sum().alias("before")
    )
    earned = requests.values.filter(late).group_by("user").agg(pl.col("value").sum())
    joined = users.join(counted, "user", "left").join(earned, "user", "left").with_columns(
        pl.col("events", "before", "value").fill_null(0)
    )  # fmt: skip
    return only_one(joined.sort("user"), "The log")
