"""What becomes of seen items and seen targets, against ranks counted by hand over all items."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_rec.data.audit import audit
from lightning_rec.data.batches import EvalSet
from lightning_rec.data.candidates import Candidates
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Histories, Schema
from lightning_rec.data.splits import LeaveOneOut
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.retrieval.exact import ModelRetriever, Pairs, rank_sample

USERS, ITEMS, EVENTS = 30, 14, 9


class Taste(InnerProduct):
    """Scores depend on the user alone; they are whole numbers, and many are tied."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(Schema(table.shape[1], EVENTS, table.shape[0]))
        self.table = table  # [users, items]

    def forward(self, histories: Histories, at: Tensor) -> Tensor:
        return self.table[histories.user]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        eye = torch.eye(self.table.shape[1])
        return ItemVectors(eye if items is None else eye[items], None)


def by_hand(
    log: dict[str, list[Any]], taste: dict[tuple[str, str], float], word: str
) -> dict[str, tuple[int, int, list[float]]]:
    """Of each user who is tested: rank (0 for a miss), candidates, and the scores of the best."""
    sequences: dict[str, list[str]] = {}
    for user, item in zip(log["user"], log["item"], strict=True):  # in the order of time
        sequences.setdefault(user, []).append(item)
    trained = {item for sequence in sequences.values() for item in sequence[:-2]}
    found = {}
    for user, sequence in sequences.items():
        history, target = [item for item in sequence[:-1] if item in trained], sequence[-1]
        candidates = set(trained) if word == "keep" else trained - set(history)
        if word == "exclude" and target in history:
            continue
        scores = {item: taste[user, item] for item in candidates}
        best = sorted(scores.values(), reverse=True)[:3]
        ahead = [item for item in candidates if scores[item] >= scores.get(target, 99)]
        found[user] = (len(ahead) if target in candidates else 0, len(candidates), best)
    return found


@pytest.mark.parametrize("word", ["exclude", "miss", "keep"])
def test_ranks_are_those_counted_by_hand(word: str, prepared: Callable[..., Interactions]) -> None:
    chance = random.Random(3)
    users = [f"u{number}" for number in range(USERS) for _ in range(EVENTS)]
    log: dict[str, list[Any]] = {
        "user": users,
        "item": [f"i{int(ITEMS * chance.random() ** 1.3)}" for _ in users],
        "time": list(range(len(users))),
    }
    data = prepared(**log)
    words: dict[str, Any] = {"seen": "keep"} if word == "keep" else {"seen_targets": word}
    split = LeaveOneOut(cutoffs=(1, 3), **words).split(data)
    audit(data, split)
    user_ids = data.users["user"].to_list()
    item_ids = data.items["item"][split.vocabulary.tolist()].to_list()
    taste = {(user, item): float(chance.randint(-4, 4)) for user in user_ids for item in item_ids}
    model = Taste(torch.tensor([[taste[user, item] for item in item_ids] for user in user_ids]))
    batch = EvalSet(split, split.test, model.schema, Candidates(5)).__getitems__(
        list(range(split.test.size))
    )
    at = torch.zeros(len(batch.example), dtype=torch.int64)
    queries, seen = model(batch.histories, at), Pairs(batch.seen_row, batch.seen_item)
    targets = Pairs(torch.arange(len(queries)), batch.target)
    expected = by_hand(log, taste, word)
    repeated = split.counts["seen test targets"]
    assert len(expected) == split.test.size == USERS - (repeated if word == "exclude" else 0)
    assert 5 < repeated < USERS - 5
    for score_bytes in (2**20, 4 * USERS * 4):  # at once, and four items at a time
        ranked = ModelRetriever(model, score_bytes=score_bytes).top(queries, 3, targets, seen)
        for row, code in enumerate(batch.histories.user.tolist()):
            scores = [taste[user_ids[code], item_ids[i]] for i in ranked.items[row].tolist()]
            found = (int(ranked.rank[row]), int(ranked.candidates[row]), scores)
            assert found == expected[user_ids[code]]
    assert batch.candidates is not None
    missed = batch.target < 0
    assert missed.sum() == (repeated if word == "miss" else 0)
    _, number = rank_sample(model, queries, batch.target, batch.candidates)
    assert (number == 6 - missed.long()).all()
    left_out = {(row, item) for row, item in zip(*map(Tensor.tolist, seen), strict=True)}
    drawn = {(row, item) for row, items in enumerate(batch.candidates.tolist()) for item in items}
    assert not drawn & left_out
