"""The catalogue is ranked exactly, whatever the blocks; any number of items is asked about."""

import random

import pytest
import torch
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.best import best
from lightning_rec.retrieval.exact import Found, ModelRetriever, Pairs

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


def one_each(target: Tensor) -> Pairs:
    return Pairs(torch.arange(len(target)), target)


def by_sorting(
    scores: list[float], target: int, seen: set[int], k: int
) -> tuple[int, int, list[float]]:
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
    retriever = ModelRetriever(model, score_bytes=4 * users * block)
    ranked = retriever.top(queries, k, one_each(target), Pairs(row, item))
    scores = (queries @ model.table.T).tolist()
    for user in range(users):
        expected = by_sorting(scores[user], int(target[user]), seen[user], k)
        assert (int(ranked.rank[user]), int(ranked.candidates[user])) == expected[:2]
        top = [item for item in ranked.items[user].tolist() if item >= 0]
        assert [scores[user][item] for item in top] == expected[2]
        assert not set(top) & (seen[user] - {int(target[user])})
        assert len(set(top)) == len(top)


def test_scores_that_are_no_numbers_count_against_the_model() -> None:
    model = Whole(6)
    model.table[2] = torch.nan
    target = one_each(torch.tensor([2, 3]))
    assert ModelRetriever(model).top(torch.ones(2, 3), 2, target).rank[0] == 6
    model.table[:] = torch.nan
    assert ModelRetriever(model).top(torch.ones(2, 3), 2, target).rank.tolist() == [6, 6]


def test_half_precision_makes_no_ties() -> None:
    torch.manual_seed(0)
    model, queries = Whole(5000, 16), torch.randn(4, 16)
    model.table = torch.randn(5000, 16)
    target = one_each(torch.arange(4))
    exact = ModelRetriever(model).top(queries, 100, target)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ModelRetriever(model).top(queries, 100, target)
    assert torch.equal(mixed.rank, exact.rank)
    assert torch.equal(mixed.items, exact.items)


@pytest.mark.parametrize("block", [1, 7, 50])
def test_any_number_of_items_of_a_query_is_asked_about(block: int) -> None:
    torch.manual_seed(1)
    model, queries = Whole(50), torch.randint(-3, 4, (4, 3)).float()
    retriever = ModelRetriever(model, score_bytes=4 * 4 * block)
    row = torch.tensor([3, 0, 0, 0, 3, 1, 3])
    item = torch.tensor([8, 2, 49, -1, 0, 7, 9])
    seen = Pairs(torch.tensor([0, 0, 3, 3]), torch.tensor([2, 5, 8, 20]))
    found = retriever.top(queries, 5, Pairs(row, item), seen)
    assert found.candidates.tolist() == [49, 50, 50, 49]  # what is asked for is a candidate
    scores = queries @ model.table.T
    scores[0, 5] = scores[3, 20] = -torch.inf
    for place, (of, own) in enumerate(zip(row.tolist(), item.tolist(), strict=True)):
        expected = int((scores[of] >= scores[of, own]).sum()) if own >= 0 else 0
        assert found.rank[place] == expected
    none: Found = retriever.top(queries, 5)
    assert len(none.rank) == 0
    assert torch.equal(none.scores, torch.topk(queries @ model.table.T, 5).values)


@pytest.mark.parametrize("most", [1, 2, 9, 40])
@pytest.mark.parametrize("k", [1, 3, 9, 45])
def test_the_best_are_those_of_a_stable_sort(most: int, k: int) -> None:
    torch.manual_seed(0)
    scores = torch.randint(0, 4, (60, most)).float()
    scores[torch.rand(60, most) < 0.2] = -torch.inf
    wanted = torch.sort(scores, dim=1, descending=True, stable=True)
    found = best(scores, k)
    assert torch.equal(found.values, wanted.values[:, :k])
    there = found.values > -torch.inf
    assert torch.equal(found.indices[there], wanted.indices[:, :k][there])
    column = torch.rand(60, most).argsort(dim=1)  # of each item, where they lie in another order
    codes = torch.empty_like(column).scatter_(1, column, torch.arange(most).expand(60, -1))
    moved = best(scores.gather(1, codes), k, codes)
    assert torch.equal(codes.gather(1, moved.indices)[there], found.indices[there])


@pytest.mark.parametrize("block", [1, 7, 50])
def test_a_short_list_begins_a_long_one(block: int) -> None:
    torch.manual_seed(0)
    model, queries = Whole(50), torch.randint(-3, 4, (30, 3)).float()
    retriever = ModelRetriever(model, score_bytes=4 * 30 * block)
    whole = torch.sort(queries @ model.table.T, dim=1, descending=True, stable=True).indices
    for k in (1, 3, 20, 50):
        assert torch.equal(retriever.top(queries, k).items, whole[:, :k])
