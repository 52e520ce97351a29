"""The audit of a knowledge graph: no relation may be the log itself, told up to the test."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from lightning_rec.data.graphs.files import Facts
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError

MOST = 0.5  # share of a relation's pairs that are events, above which it is a relation of events


def audit_graph(facts: Facts, data: Interactions, split: Split) -> list[str]:
    """Check that no relation joins users with what they are tested on; what is told of others.

    Of each relation those triples are looked at that join an item with an entity that bears the id
    of a user and is no item. If most of the pairs are events of the log, the relation is one of
    events, and one that is a target of validation or test is a leak. If they are not, ids of
    another kind may look alike, which is told. Raises UserError naming relation, user and item.
    """
    pairs = _pairs(facts, data)
    if not len(pairs):
        return []
    number = data.info["items"]
    events = data.events.select("user", "item").collect()
    event = events["user"].to_numpy().astype(np.int64) * number + events["item"].to_numpy()
    asked = np.concatenate([np.asarray(split.val.row), np.asarray(split.test.row)])
    key = pairs["user"].cast(pl.Int64) * number + pairs["item"]
    found = pairs.with_columns(
        happened=pl.Series(np.isin(key.to_numpy(), event)),
        target=pl.Series(np.isin(key.to_numpy(), event[asked])),
    )
    notes = []
    for name, rows in _by_relation(found):
        leaked, share = rows.filter("target"), float(rows["happened"].cast(pl.Float64).mean() or 0)  # type: ignore[arg-type]
        if not len(leaked):
            continue
        user, item = (data.users["user"][leaked["user"][0]], data.items["item"][leaked["item"][0]])
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


def _pairs(facts: Facts, data: Interactions) -> pl.DataFrame:
    """``relation``, ``user`` and ``item`` of the triples between what may be a user and an item."""
    of_item = data.items.select("item").with_row_index("code").join(facts.links, "item")
    of_item = of_item.select("entity", item="code")
    of_user = data.users.select(entity="user").with_row_index("user")
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
