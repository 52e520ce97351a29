"""Blocks of items change no result."""

import random

import pytest
import torch
from torch import Tensor

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.tasks.blocks import Ranked, rank_catalogue

SCHEMA = Schema(num_items=40, max_len=12, num_users=20)


class Whole(InnerProduct):
    """Integer vectors: every score is exact, and many are tied."""

    def __init__(self, items: int, width: int = 3) -> None:
        super().__init__(Schema(items, 5, 9))
        self.table = torch.randint(-3, 4, (items, width)).float()

    def forward(self, histories: Histories, at: Tensor) -> Tensor:
        raise NotImplementedError

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        return ItemVectors(self.table if items is None else self.table[items], None)


def by_sorting(scores: list[float], target: int, seen: set[int], k: int) -> tuple[int, int, list]:
    """Rank, number of candidates and the scores of the best, from a sorted list."""
    left = [item for item in range(len(scores)) if item not in seen - {target}]
    left.sort(key=lambda item: (-scores[item], item == target))  # ties against the target
    top = [scores[item] for item in left[:k]]
    return (left.index(target) + 1 if target >= 0 else 0), len(left), top


@pytest.mark.parametrize("items", [1, 7, 50])
@pytest.mark.parametrize("block", [1, 3, 8, 49, 50, 1000])
def test_ranking_is_exact_for_every_block_size(items: int, block: int) -> None:
    torch.manual_seed(0)
    random.seed(0)
    users, k = 9, min(5, items)
    model, queries = Whole(items), torch.randint(-3, 4, (users, 3)).float()
    target = torch.tensor([random.randrange(-1, items) for _ in range(users)])
    seen = [{random.randrange(items) for _ in range(random.randrange(items + 1))} for _ in target]
    seen[0] = set(range(items))  # all of a user's items seen
    pairs = [(row, item) for row, items_ in enumerate(seen) for item in items_ for _ in range(2)]
    row, item = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    ranked = rank_catalogue(model, queries, target, (row, item), k, score_bytes=4 * users * block)
    scores = (queries @ model.table.T).tolist()
    for user in range(users):
        expected = by_sorting(scores[user], int(target[user]), seen[user], k)
        assert (int(ranked.rank[user]), int(ranked.candidates[user])) == expected[:2]
        top = [item for item in ranked.top[user].tolist() if item >= 0]
        assert [scores[user][item] for item in top] == expected[2]
        assert not set(top) & (seen[user] - {int(target[user])})
        assert len(set(top)) == len(top)


def test_scores_that_are_no_numbers_count_against_the_model() -> None:
    model = Whole(6)
    model.table[2] = torch.nan
    none = torch.zeros(0, dtype=torch.int64)
    target = torch.tensor([2, 3])
    ranked: Ranked = rank_catalogue(model, torch.ones(2, 3), target, (none, none), 2)
    assert ranked.rank[0] == 6
    model.table[:] = torch.nan
    assert rank_catalogue(model, torch.ones(2, 3), target, (none, none), 2).rank.tolist() == [6, 6]


def test_half_precision_makes_no_ties() -> None:
    torch.manual_seed(0)
    model, queries = Whole(5000, 16), torch.randn(4, 16)
    model.table = torch.randn(5000, 16)
    nobody = torch.zeros(0, dtype=torch.int64)
    target = torch.arange(4)
    exact = rank_catalogue(model, queries, target, (nobody, nobody), 100)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = rank_catalogue(model, queries, target, (nobody, nobody), 100)
    assert torch.equal(mixed.rank, exact.rank)
    assert torch.equal(mixed.top, exact.top)
