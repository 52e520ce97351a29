"""The leak audit of matching: no query is on both sides of a split, however it is written.

Queries are compared by the words that the tables have of them, by other means than those that made
them one.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.shares import PARTS
from lightning_rec.errors import LeakError, listed


def audit_matches(matches: Matches) -> dict[str, Any]:
    """Check that nothing that is tested on is trained on.

    Runs before every training and evaluation. Returns what was counted, for the provenance card.
    (Items are meant to be known, with their texts; the judgements are not.) Raises LeakError when a
    check fails.
    """
    pairs = matches.pairs
    words = pl.col("query").str.to_lowercase().str.extract_all(r"\S+")
    queries = pairs.queries.select(
        part=pl.Series(_parts(matches)),
        written=words.list.join(" "),
        words=words.list.unique().list.sort().list.join(" "),
    )
    alike = queries.group_by("written").agg(pl.col("part").n_unique().alias("parts"), pl.len())
    _fail("queries are in two parts", alike.filter(pl.col("parts") > 1)["written"])
    _fail("queries are there twice", alike.filter(pl.col("len") > 1)["written"])
    facts: dict[str, Any] = {}
    for name in PARTS:
        at, of = matches.pairs_of(name), matches.part(name)
        if len(of):
            relevant = np.bincount(pairs.query[at], pairs.positive[at], pairs.num_queries)
            facts[f"{name} rate"] = round(float(pairs.positive[at].mean()), 4)
            facts[f"{name} queries without a relevant item"] = int((relevant[of] == 0).sum())
    trained = queries.filter(pl.col("part") == PARTS.index("train"))
    tested = queries.filter(pl.col("part") == PARTS.index("test"))
    known = tested.join(trained, on="words", how="semi").height
    facts["test queries with the words of a training query"] = known
    of_test, of_train = (pairs.item[matches.pairs_of(name)] for name in ("test", "train"))
    seen = float(np.isin(of_test, of_train).mean())
    facts["share of test pairs whose item is judged in training"] = round(seen, 4)
    return facts


def _parts(matches: Matches) -> NDArray[np.int8]:
    """The place in ``PARTS`` of each query: int8 [Q]."""
    part = np.full(matches.pairs.num_queries, -1, dtype=np.int8)
    for place, name in enumerate(PARTS):
        queries = matches.part(name)
        if (part[queries] >= 0).any() or (np.diff(queries) <= 0).any():
            raise LeakError(
                f"leak audit: a query of {name} is in two parts, or twice in one. This is a bug: "
                "please report it."
            )
        part[queries] = place
    return part


def _fail(check: str, culprits: pl.Series) -> None:
    if len(culprits):
        raise LeakError(
            f"leak audit: {len(culprits):,} {check}, such as {listed(culprits.to_list(), 3)}. "
            "This is a bug: please report it."
        )
