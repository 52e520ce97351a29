"""V-SKNN against loops after the authors' code, and the popular in the session against counts."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from lightning_rec.data.split import Examples, Histories, Schema, Split
from lightning_rec.models.classic import vsknn
from lightning_rec.models.classic.session_popularity import SessionPopularity
from lightning_rec.models.classic.vsknn import VSKNN

ITEMS, SESSIONS = 15, 60


def sessions(seed: int = 0) -> Split:
    """Sixty sessions of one to seven items of fifteen, some twice, that end in no order of codes."""
    chance = np.random.default_rng(seed)
    own = [chance.integers(ITEMS - 1, size=chance.integers(1, 8)) for _ in range(SESSIONS)]
    offsets = np.append(0, np.cumsum([len(items) for items in own]))
    items = np.concatenate(own).astype(np.int32)
    ends = chance.permutation(SESSIONS) * 100
    times = np.concatenate([end + np.arange(len(of)) for end, of in zip(ends, own, strict=True)])
    none = Examples(*(np.zeros(0, dtype=np.int64) for _ in Examples._fields))
    counts = np.bincount(items, minlength=ITEMS)
    rows = np.arange(len(items))
    return Split(
        offsets,
        items,
        rows,
        offsets[1:],
        np.arange(ITEMS),
        counts,
        none,
        none,
        None,
        {},
        times=times,
    )


def loops(split: Split, session: list[int], options: dict[str, Any]) -> dict[int, float]:
    """One session's scores, as session-rec's vsknn.py goes about it."""
    o = {
        "k": 100,
        "sample_size": 1000,
        "similarity": "vec",
        "weighting": "div",
        "weighting_score": "div",
    } | options
    bounds = list(zip(split.offsets[:-1], split.offsets[1:], strict=True))
    held = [set(split.items[a:b].tolist()) for a, b in bounds]
    ends = [int(split.times[b - 1]) for _, b in bounds]
    relevant = [s for s, items in enumerate(held) if items & set(session)]
    sample = sorted(relevant, key=lambda s: ends[s], reverse=True)[: o["sample_size"]]
    items = session[-o["last_n_items"] :] if o.get("last_n_items") else session
    length, pos_map = len(items), {}
    for i, item in enumerate(items, 1):
        pos_map[item] = {
            "same": 1.0,
            "div": i / length,
            "linear": max(0, 1 - 0.1 * (length - i)),
            "log": 1 / math.log10((length - i) + 1.7),
            "quadratic": (i / length) ** 2,
        }[o["weighting"]]
    neighbours = []
    for s in sample:
        shared = sum(pos_map[i] for i in sorted(set(items) & held[s]))
        if o["similarity"] == "vec":
            similarity = shared / len(pos_map)
        else:
            similarity = shared / (
                math.sqrt(sum(w * w for w in pos_map.values())) * math.sqrt(len(held[s]))
            )
        similarity = round(similarity, 10)  # sums in another order are no other likeness
        if similarity > 0:
            neighbours.append((s, similarity))
    neighbours.sort(key=lambda pair: pair[1], reverse=True)  # stable: the latest first
    scores: dict[int, float] = {}
    counts = Counter(split.items.tolist())
    for s, similarity in neighbours[: o["k"]]:
        step = next(step for step, item in enumerate(reversed(items), 1) if item in held[s])
        decay = {
            "same": 1.0, "div": 1 / step, "linear": max(0, 1 - 0.1 * step),
            "log": 1 / math.log10(step + 1.7), "quadratic": 1 / step**2,
        }[o["weighting_score"]]  # fmt: skip
        for item in held[s]:
            if o.get("remind", True) or item not in set(items):
                idf = math.log(SESSIONS / counts[item])
                raised = similarity + similarity * idf * o.get("idf_weighting", 0)
                scores[item] = scores.get(item, 0) + raised * decay
    return scores


def scored(model: Any, queries: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, queries))
    items = torch.tensor([query + [ITEMS] * (longest - len(query)) for query in queries])
    at = torch.tensor([len(query) - 1 for query in queries])
    with torch.no_grad():
        return model.scores(
            model(Histories(items, torch.zeros(len(queries), dtype=torch.int64)), at)
        )


QUERIES = [[3], [14], [1, 2, 3], [5, 5, 5], [2, 7, 2, 9], [14, 0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 5, "sample_size": 12},
        {"similarity": "cosine", "weighting": "linear", "weighting_score": "log", "k": 9},
        {"weighting": "quadratic", "weighting_score": "quadratic", "sample_size": 7},
        {"weighting": "log", "weighting_score": "same", "last_n_items": 2, "k": 4},
        {"weighting": "same", "weighting_score": "linear", "idf_weighting": 2.0, "similarity": "cosine"},
        {"remind": False, "k": 3},
    ],
)  # fmt: skip
def test_it_scores_as_the_loops_do(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = sessions()
    model = VSKNN(Schema(ITEMS, 20, SESSIONS), **options)
    model.fit(split)
    wanted = torch.zeros(len(QUERIES), ITEMS)
    for row, query in enumerate(QUERIES):
        for item, score in loops(split, query, options).items():
            wanted[row, item] = score
    for block in (2**21, 1, 100):
        monkeypatch.setattr(vsknn, "BLOCK_PAIRS", block)
        torch.testing.assert_close(scored(model, QUERIES), wanted, atol=1e-5, rtol=1e-5)


def test_only_training_events_are_remembered() -> None:
    split = sessions()
    end = np.array(split.train_end)
    end[:30] = split.offsets[:30]  # half of the sessions train nothing
    counts = np.bincount(split.items[split.offsets[30] :], minlength=ITEMS)
    model = VSKNN(Schema(ITEMS, 20, SESSIONS), weighting="same", weighting_score="same")
    model.fit(Split(**{**vars(split), "train_end": end, "train_counts": counts}))
    held = [
        set(split.items[a:b].tolist())
        for a, b in zip(split.offsets[30:-1], split.offsets[31:], strict=True)
    ]
    assert scored(model, [[3]])[0, 3] == sum(3 in items for items in held)


def test_the_popular_in_the_session_counts_and_breaks_ties_by_popularity() -> None:
    split = sessions()
    model = SessionPopularity(Schema(ITEMS, 20, SESSIONS))
    model.fit(split)
    for row, query in zip(scored(model, QUERIES), QUERIES, strict=True):
        own = Counter(query)
        official = {i: own[i] + n / (n + 1) for i, n in enumerate(split.train_counts.tolist())}
        for a in range(ITEMS):
            for b in range(ITEMS):
                assert (row[a] > row[b]) == (official[a] > official[b])


def test_popularity_is_told_apart_where_there_are_many_events() -> None:
    counts = np.arange(10_000_000, 10_000_000 + ITEMS)
    model = SessionPopularity(Schema(ITEMS, 20, SESSIONS))
    model.fit(Split(**{**vars(sessions()), "train_counts": counts}))
    assert (scored(model, [[2] * 9])[0].diff() > 0)[3:].all()
