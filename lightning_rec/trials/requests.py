"""The log of requests of ``lightning-rec serve``: what users were shown, and what they then did.

Nothing in it says which answer an event is about. An event counts for the latest answer before it
that had the item and went to the same user: that answer's item was clicked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.trials.users import only_one

ANSWERS = ("/recommend", "/search")
_LINE: dict[str, Any] = {
    "at": pl.String, "id": pl.String, "path": pl.String, "status": pl.Int64, "user": pl.String,
    "experiment": pl.String, "variant": pl.String, "items": pl.List(pl.String),
    "propensities": pl.List(pl.Float64), "teams": pl.List(pl.String),
}  # fmt: skip


class Requests(NamedTuple):
    """shown: a row for each item of an answer: ``id``, ``user``, ``experiment``, ``variant``,
    ``rank``, ``item``, ``propensity``, ``team``, ``order``, and whether it was ``clicked``.
    events: ``user``, ``item``, ``order`` of each item of an event.
    """

    shown: pl.DataFrame
    events: pl.DataFrame


def is_request_log(path: Path) -> bool:
    """Whether the first line of a file is one of a request log."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.readline(2**20)
    return first.startswith(b'{"at"') and b'"path"' in first and b'"status"' in first


def read_requests(paths: Sequence[Path]) -> Requests:
    """Read the logs of one server or several, in the order of time.

    Raises UserError for a file that is no such log, or that names no items or users.
    """
    for path in paths:
        if not is_request_log(path):
            raise UserError(f"{path} is no log of requests, as 'serve log=FILE' writes it.")
    try:
        rows = pl.concat(pl.scan_ndjson(path, schema=_LINE) for path in paths).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{listed(paths)}: a line is not whole ({reason}).") from error
    rows = rows.sort("at", maintain_order=True).with_row_index("order")
    rows = rows.filter(pl.col("status") == 200)
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
    lists = told.filter(pl.col("path").is_in(ANSWERS))
    events = told.filter(pl.col("path") == "/events").select("user", "order", item="items")
    return _clicked(_shown(lists), events.explode("item"))


def _shown(lists: pl.DataFrame) -> pl.DataFrame:
    length = pl.col("items").list.len()
    filled = [
        pl.col(name).fill_null(pl.lit(None, inner).repeat_by(length)).alias(name)
        for name, inner in (("propensities", pl.Float64), ("teams", pl.String))
    ]
    ranks = pl.int_ranges(1, length + 1).alias("rank")
    rows = lists.filter(length > 0).with_columns(*filled, ranks)
    rows = rows.explode("items", "propensities", "teams", "rank")
    names = {"items": "item", "propensities": "propensity", "teams": "team"}
    return rows.drop("at", "path", "status").rename(names)


def _clicked(shown: pl.DataFrame, events: pl.DataFrame) -> Requests:
    shown = shown.with_row_index("_shown")
    latest = events.sort("order").join_asof(
        shown.select("user", "item", "order", "_shown").sort("order"),
        on="order", by=["user", "item"], strategy="backward", check_sortedness=False,
    )  # fmt: skip
    hit = latest["_shown"].drop_nulls().unique()
    shown = shown.with_columns(clicked=pl.col("_shown").is_in(hit.implode())).drop("_shown")
    return Requests(shown, events)


def of_experiment(requests: Requests, experiment: str | None) -> pl.DataFrame:
    """What was shown in an experiment, the only one if none is named. Raises UserError."""
    known = requests.shown["experiment"].drop_nulls().unique().sort().to_list()
    if not known:
        raise UserError("The log has no variants: serve with experiment=, variants= and shares=.")
    if experiment is None and len(known) > 1:
        raise UserError(f"The log has several experiments: say experiment=, of {listed(known)}.")
    if experiment is not None and experiment not in known:
        raise UserError(f"experiment={experiment} is not in the log.{suggest(experiment, known)}")
    return requests.shown.filter(pl.col("experiment") == (experiment or known[0]))


def users_of_requests(requests: Requests, experiment: str | None) -> pl.DataFrame:
    """The users of an experiment, with their figures.

    ``user``, ``variant``, ``lists`` (answers), ``shown`` (items of them), ``clicks`` (of these),
    ``events`` (all items of events since it began), and ``before``, the events before that.
    """
    shown = of_experiment(requests, experiment)
    begun: Any = shown["order"].min()
    users = shown.group_by("user").agg(
        pl.col("variant").first(),
        pl.col("variant").n_unique().alias("_variants"),
        pl.col("id").n_unique().alias("lists"),
        pl.len().alias("shown"),
        pl.col("clicked").sum().alias("clicks"),
    )
    late = pl.col("order") > begun
    counted = requests.events.group_by("user").agg(
        late.sum().alias("events"), late.not_().sum().alias("before")
    )
    joined = users.join(counted, "user", "left").with_columns(
        pl.col("events", "before").fill_null(0)
    )
    return only_one(joined.sort("user"), "The log")
