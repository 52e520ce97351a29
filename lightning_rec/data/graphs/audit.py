"""The audit of a knowledge graph: no relation may be the log itself, told up to the test."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.graphs.files import Facts
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Split
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError

MOST = 0.5  # share of a relation's pairs that are events, above which it is a relation of events


class Events(NamedTuple):
    """What a graph may not tell.

    users, items: their ids, [U] and [V]. user, item: codes of each event, int64 [N].
    held_out: int64, places of the events of validation and test.
    """

    users: pl.Series
    items: pl.Series
    user: Ints
    item: Ints
    held_out: Ints


def events_of(data: Interactions, split: Split) -> Events:
    """Those of a log and its targets; of sessions, the users whose they are."""
    rows = data.events.select("user", "item").collect()
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    held_out = np.concatenate([np.asarray(split.val.row), np.asarray(split.test.row)])
    users = data.users["user"]
    if "visitor" in data.users.columns:
        users = data.users["visitor"]
    elif data.info["settings"].get("session") or data.info["settings"].get("history"):
        # Where a session is one of a user it is called by both; a slash within is doubled.
        owner = users.str.extract("^(.*) / ").str.replace_all("//", "/", literal=True)
        users = pl.select(pl.coalesce(owner, users)).to_series()
    names = users.unique(maintain_order=True)
    of = pl.DataFrame({"user": users}).join(
        pl.DataFrame({"user": names}).with_row_index("code"), "user", maintain_order="left"
    )
    code = of["code"].to_numpy().astype(np.int64)
    return Events(names, data.items["item"], code[user], item, held_out)


def audit_graph(facts: Facts, events: Events) -> list[str]:
    """Check that no relation joins users with what they are tested on; what is told of others.

    Of each relation those triples are looked at that join an item with an entity that bears the id
    of a user and is no item. If most of the pairs are events of the log, the relation is one of
    events, and one that is a target of validation or test is a leak. If they are not, ids of
    another kind may look alike, which is told. Raises UserError naming relation, user and item.
    """
    pairs = _pairs(facts, events)
    if not len(pairs):
        return []
    number = len(events.items)
    event = events.user.astype(np.int64) * number + events.item
    key = pairs["user"].cast(pl.Int64) * number + pairs["item"]
    found = pairs.with_columns(
        happened=pl.Series(np.isin(key.to_numpy(), event)),
        target=pl.Series(np.isin(key.to_numpy(), event[events.held_out])),
    )
    notes = []
    for name, rows in _by_relation(found):
        leaked, share = rows.filter("target"), float(rows["happened"].cast(pl.Float64).mean() or 0)  # type: ignore[arg-type]
        if not len(leaked):
            continue
        user, item = events.users[leaked["user"][0]], events.items[leaked["item"][0]]
        if share > MOST:
            raise UserError(
                f"leak audit: {facts.path}: the relation '{name}' joins users with items as the "
                f"log does, and {len(leaked):,} of its triples are targets of validation or test, "
                f"such as user {user} and item {item}: leave out the triples that are events."
            )
        notes.append(
            f"{facts.path}: the relation '{name}' joins items with entities that bear ids of "
            f"users; {len(leaked):,} of {len(rows):,} such pairs are targets of validation or test "
            f"(such as {user} and {item}). If these entities are users, leave them out."
        )
    return notes


def _pairs(facts: Facts, events: Events) -> pl.DataFrame:
    """``relation``, ``user`` and ``item`` of the triples between what may be a user and an item."""
    of_item = pl.DataFrame({"item": events.items}).with_row_index("code")
    of_item = of_item.join(facts.links, "item")
    of_item = of_item.select("entity", item="code")
    of_user = pl.DataFrame({"entity": events.users}).with_row_index("user")
    of_user = of_user.join(of_item, "entity", "anti")
    both = [
        facts.triples.select("relation", one="head", other="tail"),
        facts.triples.select("relation", one="tail", other="head"),
    ]
    joined = [
        rows.join(of_user, left_on="one", right_on="entity")
        .join(of_item, left_on="other", right_on="entity")
        .select("relation", "user", "item")
        for rows in both
    ]
    return pl.concat(joined).unique(maintain_order=True)


def _by_relation(found: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for name in found["relation"].unique(maintain_order=True):
        yield name, found.filter(pl.col("relation") == name)
