"""TiSASRec against the authors' formulas written out, pair by pair, with equal weights."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.tisasrec import TiSASRec, intervals

SCHEMA = Schema(num_items=30, max_len=7, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
TIMES = torch.tensor([[100, 100, 103, 110, 2_000, 2_500], [7, 90, 95, 95, 95, 95]])
SPAN = 20


def made(**settings: int) -> TiSASRec:
    torch.manual_seed(0)
    model = TiSASRec(SCHEMA, dim=12, span=SPAN, **settings).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def apart(times: list[int], at: int, other: int) -> int:
    """The personal interval of two items, as place ``at`` knows it."""
    gaps = [b - a for a, b in pairwise(times[: at + 1]) if b > a]
    return min(SPAN, abs(times[at] - times[other]) // min(gaps, default=1))


def by_hand(model: TiSASRec, items: list[int], times: list[int] | None) -> Tensor:
    """States of one sequence, float [L, D], by equations 5 to 11."""
    length, width = len(items), 12
    states = [model.item.weight[item] * width**0.5 for item in items]
    first = SCHEMA.max_len - length  # the authors pad on the left
    for block in model.blocks:
        after, size = [], width // block.heads
        for at in range(length):
            asked = F.layer_norm(states[at], (width,), block.attention_norm.weight, block.attention_norm.bias, 1e-8)  # fmt: skip
            query, mixed = block.query(asked), []
            for head in range(block.heads):
                part = slice(head * size, (head + 1) * size)
                scores, values = [], []
                for other in range(at + 1):
                    key = block.key(states[other]) + model.key_place.weight[first + other]
                    value = block.value(states[other]) + model.value_place.weight[first + other]
                    if times is not None:
                        span = apart(times, at, other)
                        key = key + model.key_time.weight[span]
                        value = value + model.value_time.weight[span]
                    scores.append(query[part] @ key[part] / size**0.5)
                    values.append(value[part])
                mixed.append(torch.stack(scores).softmax(0) @ torch.stack(values))
            hidden = F.layer_norm(asked + torch.cat(mixed), (width,), block.norm.weight, block.norm.bias, 1e-8)  # fmt: skip
            after.append(hidden + block.contract(F.relu(block.expand(hidden))))
        states = after
    return F.layer_norm(torch.stack(states), (width,), model.norm.weight, model.norm.bias, 1e-8)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("timed", [True, False])
def test_states_are_those_of_the_formulas(heads: int, timed: bool) -> None:
    model = made(heads=heads)
    real = ITEMS.ne(SCHEMA.padding)
    histories = Histories(ITEMS, torch.arange(2), TIMES if timed else None)
    with torch.no_grad():
        found = model(histories, real)
        expected = torch.cat(
            [
                by_hand(model, [3, 1, 4, 1, 5], TIMES[0, :5].tolist() if timed else None),
                by_hand(model, [9, 2, 6], TIMES[1, :3].tolist() if timed else None),
            ]
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_intervals_are_personal_clipped_and_blind_to_the_future() -> None:
    found = intervals(TIMES[:, :5], SPAN)
    for row in range(2):
        times = TIMES[row, :5].tolist()
        expected = [[apart(times, at, other) for other in range(at + 1)] for at in range(5)]
        assert [found[row, at, : at + 1].tolist() for at in range(5)] == expected
    assert found.max() == SPAN
    hours = intervals(TIMES[:, :5] * 3_600, SPAN)  # but where there is no interval yet
    assert torch.equal(hours[0, 2:].tril(2), found[0, 2:].tril(2))
    later = TIMES[:, :5].clone()
    later[:, 4] += 1
    assert torch.equal(intervals(later, SPAN)[:, :4, :4], found[:, :4, :4])


def test_the_time_between_items_changes_the_answer() -> None:
    model, at = made(), torch.tensor([4, 2])
    with torch.no_grad():
        first = model(Histories(ITEMS, torch.arange(2), TIMES), at)
        moved = model(Histories(ITEMS, torch.arange(2), TIMES * 2 + 5), at)
        torch.testing.assert_close(moved, first)  # the unit is the user's own
        other = TIMES.clone()
        other[:, 1] += 1
        changed = model(Histories(ITEMS, torch.arange(2), other), at)
    assert not torch.allclose(changed[0], first[0], atol=1e-4)
