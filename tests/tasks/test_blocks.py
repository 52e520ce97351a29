"""Blocks of sequences and of items change no result."""

import random

import pytest
import torch
from torch import Tensor

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.tasks.blocks import Ranked, encode, rank_catalogue

SCHEMA = Schema(num_items=40, max_len=12, num_users=20)


def batch(rows: int = 20) -> Histories:
    """Random histories of 1 to 12 items, the longest first."""
    torch.manual_seed(0)
    length = torch.randint(1, 13, (rows, 1)).sort(dim=0, descending=True).values
    items = torch.randint(40, (rows, 12)).masked_fill(torch.arange(12) >= length, SCHEMA.padding)
    return Histories(items, torch.arange(rows))


@pytest.mark.parametrize("tokens", [1, 12, 30, 100, 10_000])
@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_a_batch_encoded_in_blocks_is_the_batch_encoded_at_once(kind: type, tokens: int) -> None:
    model = kind(SCHEMA, dim=16).eval()
    objective = NextItem() if kind is SASRec else MaskedItem()
    questions = [
        objective.lesson(batch(), SCHEMA)[:2],
        objective.question(batch(), SCHEMA),
    ]
    for histories, at in questions:
        torch.testing.assert_close(
            encode(model, histories, at, tokens), encode(model, histories, at, None)
        )


@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_rows_in_any_order_lose_nothing(kind: type) -> None:
    model = kind(SCHEMA, dim=16).eval()
    objective = NextItem() if kind is SASRec else MaskedItem()
    items, user = (part.flip(0) for part in batch())
    histories, at = objective.lesson(Histories(items, user), SCHEMA)[:2]
    torch.testing.assert_close(
        encode(model, histories, at, 100), encode(model, histories, at, None)
    )


def test_blocks_keep_to_their_budget_and_skip_padding() -> None:
    schema = Schema(num_items=40, max_len=200, num_users=500)
    model = SASRec(schema, dim=16).eval()
    shapes = []
    model.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].items.shape)))
    length = torch.randint(1, 201, (500, 1)).sort(dim=0, descending=True).values
    items = torch.zeros(500, 200, dtype=torch.int64)
    items = items.masked_fill(torch.arange(200) >= length, schema.padding)
    histories = Histories(items, torch.arange(500))
    encode(model, *NextItem().question(histories, schema), tokens=1024)
    assert sum(rows for rows, _ in shapes) == 500
    assert all(rows * longest <= 1024 for rows, longest in shapes)
    assert all(rows % 4 == longest % 8 == 0 for rows, longest in shapes)  # few shapes occur
    assert sum(rows * longest for rows, longest in shapes) < 1.1 * int(length.sum())


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
