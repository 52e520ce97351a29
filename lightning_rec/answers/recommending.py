"""Recommendations for a file of users, by :mod:`lightning_rec.answers.files`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.answers.files import Done, answer_file
from lightning_rec.data.lists import lists, unreadable
from lightning_rec.data.names import lacking
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, suggest
from lightning_rec.predict.asking import check_k
from lightning_rec.predict.batches import read_of_events
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.given import moment, times_of
from lightning_rec.rules.rules import Given, as_rules

log = logging.getLogger(__name__)


def recommend_file(
    model: SequencePredictor,
    identity: str,
    source: Path,
    output: Path,
    *,
    k: int = 10,
    seen: str | None = None,
    rules: Given | None = None,
    told: Told | None = None,
    overwrite: bool = False,
    restart: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Done:
    """Recommend to each user of a table, in bounded memory; a killed call goes on where it was cut.

    Args:
        model: that answers.
        identity: what tells it from other models, such as the hash of its weights.
        source: a table with ``user`` alone (known by the run's log), ``user`` and ``history``
            (lists, oldest first), or a row for each event: ``user``, ``item``, perhaps ``time``.
        output: ``user``, ``rank``, ``item``, ``title`` and so on, as of ``recommend``.
        k: as of ``recommend``.
        seen: as of ``recommend``.
        rules: as of ``recommend``. A user that is not known gets nothing, which is told.
        told: is added what is to be told.
        overwrite: see :func:`answer_file`.
        restart: see :func:`answer_file`.
        columns: the names that ``user``, ``item`` and ``time`` have in the source, if others.
    """
    check_k(k, len(model.items), "say 1 to {:,}, as many items as this run knows")
    rules = as_rules(rules or {})
    if rules.at is None:  # a command that goes on is of the same moment
        work = output.with_name(f".{output.name}.parts") / "work.json"
        kept = read_json(work).get("at") if work.is_file() and not restart else None
        rules = replace(rules, at=moment("at", kept))
    ready = model.ready(rules)
    request = {
        "model": identity,
        "k": k,
        "seen": seen or model.seen,
        "rules": ready.fingerprint(),
        "at": ready.at,
    }
    request |= {"columns": dict(columns)} if columns else {}

    def answer(rows: pl.DataFrame, own: Told) -> pl.DataFrame:
        asked: dict[str, Any] = {"k": k, "seen": seen, "rules": ready, "told": own, "strict": False}
        if "item" in rows.columns:
            return model.recommend(rows.explode(rows.columns[1:]), **asked)
        if "history" in rows.columns:
            return model.recommend(rows, **asked)
        return model.recommend(users=rows["user"], **asked)

    more = {"overwrite": overwrite, "restart": restart}
    stage = partial(_staged, source, columns or {}, read_of_events(model.model))
    return answer_file(source, output, request, stage, answer, told or Told(), **more)


def _staged(
    source: Path, columns: Mapping[str, str], read: Sequence[str], rows: pl.LazyFrame
) -> pl.LazyFrame:
    """What is asked: ``user``, and ``history`` where there is any; or lists of ``item`` and of
    those columns of events that the model reads, ``read``, if some are there.
    """
    rows = _named(source, columns, rows)
    schema = rows.collect_schema()
    if "user" not in schema:
        raise UserError(
            f"{lacking(source, 'user', schema)} What is read is user; user and history; or user, "
            "item and perhaps time."
        )
    if "history" in schema:
        wrong = (
            rows.select(unreadable(pl.col("history")).any())
            if (schema["history"] == pl.String)
            else None
        )
        if wrong is not None and wrong.collect().item():
            raise UserError(f"{source}: the column 'history' holds lists that are cut, or nested.")
        return rows.select("user", lists(pl.col("history"), schema["history"]).alias("history"))
    if "item" not in schema:
        return rows.select("user")
    if "time" not in schema:
        log.warning("%s: no column is called time, so that events are taken in the order of their "
                    "rows: name it by time=COLUMN if there is one.", source)  # fmt: skip
    else:
        if schema["time"].is_numeric() and "time" not in read:  # as they are, for the order alone
            times = pl.col("time")
        else:
            times = times_of(f"{source}: the column 'time'", rows)
        rows = rows.with_columns(times)
        if rows.select(pl.col("time").is_null().any()).collect().item():
            raise UserError(f"{source}: the column 'time' has rows that are no time.")
        rows = rows.sort("time", maintain_order=True)
    item, grouped = pl.col("item").cast(pl.String), rows.group_by("user", maintain_order=True)
    if known := [name for name in read if name in schema]:
        return grouped.agg(item, *known)
    return grouped.agg(item.alias("history"))


def _named(source: Path, columns: Mapping[str, str], rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with the columns that have other names in the source under their own."""
    schema = rows.collect_schema()
    for name in columns.values():
        if name not in schema:
            told = suggest(name, schema, "Its columns are")
            raise UserError(f"{source} has no column '{name}'.{told}")
    kept = [name for name in schema if name not in {*columns, *columns.values()}]
    return rows.select(*kept, *(pl.col(name).alias(role) for role, name in columns.items()))
