"""The contrastive objective: which views are made, and what their loss is."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.gru4rec import GRU4Rec
from lightning_rec.objectives.base import TrainingInputs
from lightning_rec.objectives.contrastive import Contrastive, nt_xent
from lightning_rec.objectives.next_item import NextItem

SCHEMA = Schema(num_items=50, max_len=20, num_users=9)


def batch(rows: int, shortest: int = 1) -> Histories:
    """Sequences of up to 20 different items, the longest first, padded on the right."""
    torch.manual_seed(0)
    items = torch.stack([torch.randperm(50)[:20] for _ in range(rows)])
    length = torch.randint(shortest, 21, (rows, 1)).sort(dim=0, descending=True).values
    return Histories(items.masked_fill(torch.arange(20) >= length, SCHEMA.padding), torch.arange(rows) % 9)  # fmt: skip


def test_lessons_and_questions_are_those_of_next_item() -> None:
    objective, plain, histories = Contrastive(), NextItem(), batch(30, shortest=2)
    assert objective.window(20) == plain.window(20) == 21
    for one, other in (
        (objective.training_inputs(histories, SCHEMA), plain.training_inputs(histories, SCHEMA)),
        (objective.query_inputs(histories, SCHEMA), plain.query_inputs(histories, SCHEMA)),
    ):
        assert torch.equal(one.histories.items, other.histories.items)
        assert torch.equal(one.positions, other.positions)
    assert (objective.name, objective.family, plain.name) == (
        "contrastive",
        "next_item",
        "next_item",
    )


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_the_loss_by_hand(temperature: float) -> None:
    """Equation 1 of SimCLR with inner products, pair by pair."""
    torch.manual_seed(0)
    queries = torch.randn(8, 3, dtype=torch.float64)
    total = 0.0
    for one in range(8):
        alike = [float(queries[one] @ queries[other]) / temperature for other in range(8)]
        others = sum(math.exp(alike[other]) for other in range(8) if other != one)
        total -= math.log(math.exp(alike[(one + 4) % 8]) / others)
    assert nt_xent(queries, temperature).item() == pytest.approx(total / 8)


def operator(before: list[int], after: list[int]) -> str:
    """Which operator made one of the other; sequences are long enough to tell."""
    if SCHEMA.mask in after:
        return "mask"
    return "crop" if SCHEMA.padding in after and SCHEMA.padding not in before else "reorder"


def test_the_two_views_are_by_different_operators_each_as_likely() -> None:
    histories = batch(6000, shortest=20)
    first, second = Contrastive().views(histories.items, SCHEMA)
    rows = (histories.items.tolist(), first.tolist(), second.tolist())
    pairs = [(operator(row, one), operator(row, other)) for row, one, other in zip(*rows, strict=True)]  # fmt: skip
    counts = {pair: pairs.count(pair) / len(pairs) for pair in set(pairs)}
    assert len(counts) == 6
    assert all(one != other for one, other in counts)
    assert all(count == pytest.approx(1 / 6, abs=0.02) for count in counts.values())


def test_the_shares_reach_their_operators() -> None:
    histories = batch(300, shortest=20)
    views = torch.cat(Contrastive(crop=0.5, mask=0.1, reorder=0.0).views(histories.items, SCHEMA))
    before = histories.items.repeat(2, 1)
    cropped = (views == SCHEMA.padding).any(dim=1)
    masked = (views == SCHEMA.mask).any(dim=1)
    assert ((views == SCHEMA.padding).sum(dim=1)[cropped] == 10).all()
    assert ((views == SCHEMA.mask).sum(dim=1)[masked] == 2).all()
    assert torch.equal(views[~cropped & ~masked], before[~cropped & ~masked])


def test_the_term_asks_at_the_latest_place_of_each_view_longest_first() -> None:
    histories, asked = batch(40), []
    objective = Contrastive(temperature=0.5, weight=0.25)
    table = torch.randn(SCHEMA.mask + 1, 4)

    model: Any = SimpleNamespace(schema=SCHEMA)
    inputs = TrainingInputs(histories, histories.items < 50, histories.items[histories.items < 50])

    def encode(views: Histories, at: Tensor) -> Tensor:
        asked.append((views, at))
        return table[views.items[torch.arange(len(at)), at]]

    torch.manual_seed(3)
    term = objective.term(model, encode, inputs, torch.zeros(0))
    torch.manual_seed(3)
    views = torch.cat(objective.views(histories.items, SCHEMA))
    latest = (views != SCHEMA.padding).sum(dim=1) - 1
    expected = nt_xent(table[views[torch.arange(80), latest]], 0.5) * 0.25
    torch.testing.assert_close(term, expected)
    ((shown, at),) = asked
    assert (at.diff() <= 0).all()
    assert (shown.items[torch.arange(80), at] != SCHEMA.padding).all()
    assert sorted(shown.user.tolist()) == sorted(histories.user.repeat(2).tolist())


def test_views_of_one_sequence_grow_alike() -> None:
    torch.manual_seed(0)
    model, objective, histories = GRU4Rec(SCHEMA, dim=16, dropout=0.0), Contrastive(), batch(16, 4)
    inputs = objective.training_inputs(histories, SCHEMA)._replace(histories=histories)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = objective.term(model, model, inputs, torch.zeros(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / objective.weight)
    assert sum(losses[:5]) / 5 > 2.5  # by chance log(31) = 3.4
    assert sum(losses[-10:]) / 10 < 1.0
