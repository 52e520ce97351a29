"""The leak audit of matching: no query is on both sides of a split, however it is written.

Queries are compared by the words that the tables have of them, by other means than those that made
them one.
"""

from typing import Any

import numpy as np
import polars as pl

from lightning_rec.data.core.audited import assigned_parts, leak
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.shares import PARTS
from lightning_rec.errors import listed


def audit_matches(matches: Matches) -> dict[str, Any]:
    """Check that nothing that is tested on is trained on; returns what was counted, for the card.
    (Items are meant to be known; the judgements are not.) Raises LeakError when a check fails.
    """
    pairs, parts = matches.pairs, {name: matches.part(name) for name in PARTS}
    words = pl.col("query").str.to_lowercase().str.extract_all(r"\S+")
    queries = pairs.queries.select(
        part=pl.Series(assigned_parts(parts, pairs.num_queries, "query")),
        written=words.list.join(" "),
        words=words.list.unique().list.sort().list.join(" "),
    )
    alike = queries.group_by("written").agg(pl.col("part").n_unique().alias("parts"), pl.len())
    for what, column in (("in two parts", "parts"), ("there twice", "len")):
        if len(odd := alike.filter(pl.col(column) > 1)["written"]):
            raise leak(f"{len(odd):,} queries are {what}, such as {listed(odd, 3)}")
    facts: dict[str, Any] = {}
    for name in PARTS:
        at, of = matches.pairs_of(name), parts[name]
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


def audit_ranker(matches: Matches, learnt: pl.Series) -> dict[str, int]:
    """Check that what ranks candidates has ``learnt`` no query of validation or test; returns what
    was counted. Queries are compared by their words, in lower case. Raises LeakError.
    """
    own = {*_written(learnt)}
    texts = _written(matches.pairs.queries["query"])
    for name, what in (("val", "validation"), ("test", "the test")):
        if odd := own & {*texts.gather(matches.part(name))}:
            told = f"{len(odd):,} queries, such as {listed(sorted(odd), 3)}"
            raise leak(f"the ranker is trained on a query of {what} ({told})")
    return {"queries that the ranker has learnt": len(own)}


def _written(queries: pl.Series) -> pl.Series:
    words = pl.col("query").str.to_lowercase().str.extract_all(r"\S+")
    return queries.to_frame("query").select(words.list.join(" "))["query"]


def audit_earlier(matches: Matches, before: Matches) -> dict[str, int]:
    """Check that the split ``before``, of ``protocol.earlier``, has training queries of ``matches``
    alone, and that none of its own targets trains; returns what was counted.

    Queries are compared by their words, in lower case. Raises LeakError.
    """
    texts = _written(matches.pairs.queries["query"])
    said = {name: {*texts.gather(matches.part(name))} for name in PARTS}
    target, own = ({*texts.gather(before.part(name))} for name in ("test", "train"))
    for what, odd in {
        "a query of the ranker is one of validation": target & said["val"],
        "a query of the ranker is one of the test": target & said["test"],
        "a retriever of the ranker is trained on a query of validation": own & said["val"],
        "a retriever of the ranker is trained on a query of the test": own & said["test"],
        "a query of the ranker is none of training": target - said["train"],
        "a retriever of the ranker is trained on a query of the ranker": target & own,
    }.items():
        if odd:
            raise leak(f"{what} ({len(odd):,} times, such as {listed(sorted(odd), 3)})")
    return {"ranker queries": len(before.test), "retriever queries": len(before.train)}
