"""Objectives: what is hidden, how often, and how the question is put."""

import pytest
import torch

from lightning_rec.data.split import Schema
from lightning_rec.objectives import ClosedForm, Lesson, MaskedItem

SCHEMA = Schema(num_items=50, max_len=20)


def batch(rows: int = 2000, shortest: int = 2) -> torch.Tensor:
    """Sequences of 2 to 20 items, padded on the left; seeds torch."""
    torch.manual_seed(0)
    items = torch.randint(50, (rows, 20))
    length = torch.randint(shortest, 21, (rows, 1))
    return items.masked_fill(torch.arange(20) < 20 - length, SCHEMA.padding)


def lesson(mask_prob: float, mask_last: float, items: torch.Tensor) -> Lesson:
    return MaskedItem(mask_prob, mask_last).lesson(items, SCHEMA)


@pytest.mark.parametrize("mask_last", [0.0, 0.3, 1.0])
def test_a_lesson_hides_items_and_asks_for_just_those(mask_last: float) -> None:
    items = batch()
    before = items.clone()
    inputs, at, targets = lesson(0.2, mask_last, items)
    assert torch.equal(items, before)  # the batch itself is left alone
    assert torch.equal(inputs == SCHEMA.mask, at)
    assert torch.equal(inputs[~at], items[~at])
    assert torch.equal(targets, items[at])
    assert at.any(dim=1).all()  # at least one question a row
    assert not (at & (items == SCHEMA.padding)).any()


@pytest.mark.parametrize("mask_prob", [0.1, 0.2, 0.6])
def test_each_item_is_hidden_with_the_stated_chance(mask_prob: float) -> None:
    items = batch(shortest=20)
    _, at, _ = lesson(mask_prob, 0.0, items)
    filled = (1 - mask_prob) ** 20  # rows where chance hid nothing, and the last item is taken
    places = at.double().mean(dim=0)
    assert places[:-1].mean().item() == pytest.approx(mask_prob, abs=0.01)
    assert places[-1].item() == pytest.approx(mask_prob + filled, abs=0.03)
    assert places[:-1].min() > mask_prob - 0.05
    assert places[:-1].max() < mask_prob + 0.05


@pytest.mark.parametrize("mask_last", [0.0, 0.1, 0.5, 1.0])
def test_the_stated_share_hides_the_last_item_alone(mask_last: float) -> None:
    _, at, _ = lesson(0.3, mask_last, batch(4000, shortest=20))
    last_alone = at[:, -1] & (at.sum(dim=1) == 1)
    by_chance = 0.7**20 + 0.3 * 0.7**19
    share = mask_last + (1 - mask_last) * by_chance
    assert last_alone.double().mean().item() == pytest.approx(share, abs=0.03)


def test_lessons_repeat_with_the_seed_and_differ_without() -> None:
    first, second = (lesson(0.2, 0.1, batch()).at for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(lesson(0.2, 0.1, batch()).at, lesson(0.2, 0.1, batch() * 1).at.flip(0))
    items = batch()
    assert not torch.equal(lesson(0.2, 0.1, items).at, lesson(0.2, 0.1, items).at)


def test_the_question_appends_the_mask_and_drops_the_oldest() -> None:
    schema = Schema(num_items=9, max_len=4)
    short, full = torch.tensor([[9, 1, 2]]), torch.tensor([[1, 2, 3, 4]])
    assert MaskedItem().question(short, schema).tolist() == [[9, 1, 2, schema.mask]]
    assert MaskedItem().question(full, schema).tolist() == [[2, 3, 4, schema.mask]]


def test_closed_form_has_no_lesson() -> None:
    items = batch(3)
    assert torch.equal(ClosedForm().question(items, SCHEMA), items)
    with pytest.raises(TypeError, match="no gradient steps"):
        ClosedForm().lesson(items, SCHEMA)
