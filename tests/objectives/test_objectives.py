"""Objectives: what is hidden, how often, and how the question is put."""

import pytest
import torch

from lightning_rec.data.split import Histories, Schema
from lightning_rec.objectives.base import Objective
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.objectives.reconstruction import Reconstruction
from lightning_rec.objectives.user_item import UserItem

SCHEMA = Schema(num_items=50, max_len=20, num_users=9)


def batch(rows: int = 2000, shortest: int = 2) -> torch.Tensor:
    """Sequences of 2 to 20 items, padded on the right; seeds torch."""
    torch.manual_seed(0)
    items = torch.randint(50, (rows, 20))
    length = torch.randint(shortest, 21, (rows, 1))
    return items.masked_fill(torch.arange(20) >= length, SCHEMA.padding)


Shown = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def histories(items: torch.Tensor) -> Histories:
    return Histories(items, torch.arange(len(items)))


def taught(objective: Objective, items: torch.Tensor) -> Shown:
    """Inputs, places and targets; users must pass through."""
    shown, at, targets, _ = objective.training_inputs(histories(items), SCHEMA)
    assert torch.equal(shown.user, torch.arange(len(items)))
    return shown.items, at, targets


def training_inputs(mask_prob: float, mask_last: float, items: torch.Tensor) -> Shown:
    return taught(MaskedItem(mask_prob, mask_last), items)


def asked(
    objective: Objective, items: list[list[int]], schema: Schema
) -> list[tuple[list[int], int]]:
    """The rows shown and the place asked about in each."""
    shown, at = objective.query_inputs(histories(torch.tensor(items)), schema)
    assert torch.equal(shown.user, torch.arange(len(items)))
    return list(zip(shown.items.tolist(), at.tolist(), strict=True))


@pytest.mark.parametrize("mask_last", [0.0, 0.3, 1.0])
def test_a_lesson_hides_items_and_asks_for_just_those(mask_last: float) -> None:
    items = batch()
    before = items.clone()
    inputs, at, targets = training_inputs(0.2, mask_last, items)
    assert torch.equal(items, before)  # the batch itself is left alone
    assert torch.equal(inputs == SCHEMA.mask, at)
    assert torch.equal(inputs[~at], items[~at])
    assert torch.equal(targets, items[at])
    assert at.any(dim=1).all()  # at least one question a row
    assert not (at & (items == SCHEMA.padding)).any()


@pytest.mark.parametrize("mask_prob", [0.1, 0.2, 0.6])
def test_each_item_is_hidden_with_the_stated_chance(mask_prob: float) -> None:
    items = batch(shortest=20)
    _, at, _ = training_inputs(mask_prob, 0.0, items)
    filled = (1 - mask_prob) ** 20  # rows where chance hid nothing, and the last item is taken
    places = at.double().mean(dim=0)
    assert places[:-1].mean().item() == pytest.approx(mask_prob, abs=0.01)
    assert places[-1].item() == pytest.approx(mask_prob + filled, abs=0.03)
    assert places[:-1].min() > mask_prob - 0.05
    assert places[:-1].max() < mask_prob + 0.05


@pytest.mark.parametrize("mask_last", [0.0, 0.1, 0.5, 1.0])
def test_the_stated_share_hides_the_last_item_alone(mask_last: float) -> None:
    _, at, _ = training_inputs(0.3, mask_last, batch(4000, shortest=20))
    last_alone = at[:, -1] & (at.sum(dim=1) == 1)
    by_chance = 0.7**20 + 0.3 * 0.7**19
    share = mask_last + (1 - mask_last) * by_chance
    assert last_alone.double().mean().item() == pytest.approx(share, abs=0.03)


def test_lessons_repeat_with_the_seed_and_differ_without() -> None:
    first, second = (training_inputs(0.2, 0.1, batch())[1] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(
        training_inputs(0.2, 0.1, batch())[1], training_inputs(0.2, 0.1, batch() * 1)[1].flip(0)
    )
    items = batch()
    assert not torch.equal(training_inputs(0.2, 0.1, items)[1], training_inputs(0.2, 0.1, items)[1])


def test_the_last_item_alone_is_hidden_in_short_sequences_too() -> None:
    items = batch()
    _, at, _ = training_inputs(0.2, 1.0, items)
    length = (items != SCHEMA.padding).sum(dim=1)
    assert (at.sum(dim=1) == 1).all()
    assert at[torch.arange(len(items)), length - 1].all()


def test_the_question_appends_the_mask_and_drops_the_oldest() -> None:
    schema = Schema(num_items=9, max_len=4, num_users=3)
    pad, mask = schema.padding, schema.mask
    rows = [[1, 2, 3, 4], [5, 6, 7, pad], [8, pad, pad, pad]]
    assert asked(MaskedItem(), rows, schema) == [
        ([2, 3, 4, mask], 3),
        ([5, 6, 7, mask], 3),
        ([8, mask, pad, pad], 1),
    ]
    assert asked(MaskedItem(), [[1, 2], [3, pad]], schema) == [
        ([1, 2, mask], 2),
        ([3, mask, pad], 1),
    ]


def test_next_item_predicts_each_item_from_those_before() -> None:
    pad = SCHEMA.padding
    inputs, at, targets = taught(NextItem(), torch.tensor([[1, 2, 3, 4], [5, 6, pad, pad]]))
    assert inputs.tolist() == [[1, 2, 3], [5, pad, pad]]
    assert at.tolist() == [[True, True, True], [True, False, False]]
    assert targets.tolist() == [2, 3, 4, 6]
    assert NextItem().window(20) == 21
    rows = [[1, 2, 3], [4, pad, pad]]
    assert asked(NextItem(), rows, SCHEMA) == [(rows[0], 2), (rows[1], 0)]


def test_the_latest_items_alone_are_asked_for_where_that_is_said() -> None:
    pad = SCHEMA.padding
    rows = torch.tensor([[1, 2, 3, 4], [5, 6, pad, pad]])
    inputs, at, targets = taught(NextItem(latest=2), rows)
    assert inputs.tolist() == [[1, 2, 3], [5, pad, pad]]
    assert at.tolist() == [[False, True, True], [True, False, False]]
    assert targets.tolist() == [3, 4, 6]


def test_user_item_shows_no_item() -> None:
    inputs, at, targets = taught(UserItem(), torch.tensor([[3], [7]]))
    assert inputs.tolist() == [[SCHEMA.padding], [SCHEMA.padding]]
    assert at.all()
    assert targets.tolist() == [3, 7]
    assert UserItem().window(20) == 1


def test_reconstruction_has_all_items_of_a_history_as_targets_of_one_query() -> None:
    pad = SCHEMA.padding
    items = torch.tensor([[4, 2, 4], [7, 8, pad], [3, pad, pad]])
    inputs, at, targets = taught(Reconstruction(), items)
    assert torch.equal(inputs, items)
    assert at.nonzero().tolist() == [[0, 2], [1, 1], [2, 0]]
    assert torch.equal(targets, items)
    learnt = torch.tensor([[False, True, True], [True, False, False], [False, False, False]])
    made = Reconstruction().training_inputs(histories(items)._replace(learnt=learnt), SCHEMA)
    assert torch.equal(made.histories.items, items)
    assert made.histories.learnt is None
    assert torch.equal(made.positions, at)
    assert made.targets.tolist() == [[pad, 2, 4], [7, pad, pad], [pad, pad, pad]]


def test_closed_form_has_no_lesson() -> None:
    pad = SCHEMA.padding
    assert asked(ClosedForm(), [[1, 2], [3, pad]], SCHEMA) == [([1, 2], 1), ([3, pad], 0)]
    with pytest.raises(TypeError, match="no gradient steps"):
        ClosedForm().training_inputs(histories(batch(3)), SCHEMA)


def test_the_next_item_is_asked_for_at_its_own_time() -> None:
    pad = SCHEMA.padding
    items = torch.tensor([[1, 2, 3, 4], [5, 6, pad, pad]])
    times = torch.tensor([[10, 20, 30, 40, 40], [50, 60, 60, 60, 60]])
    whole = histories(items)._replace(times=times)
    shown, at, _, _ = NextItem().training_inputs(whole, SCHEMA)
    assert shown.times is not None
    assert shown.times.tolist() == [[10, 20, 30, 40], [50, 60, 60, 60]]
    assert shown.times[:, 1:][at].tolist() == [20, 30, 40, 60]  # those of the targets
    assert NextItem().training_inputs(histories(items), SCHEMA).histories.times is None
