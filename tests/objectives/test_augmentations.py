"""Augmentations: how much of a sequence each changes, where, and that it changes nothing else."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_rec.objectives import augmentations

PADDING, MASK = 1000, 1001
SHARES = [0.0, 0.1, 0.3, 0.6, 1.0]


def batch(rows: int = 500, longest: int = 20) -> tuple[Tensor, list[list[int]]]:
    """Sequences of 1 to 20 different items, padded on the right, and the same as lists."""
    torch.manual_seed(0)
    items = torch.stack([torch.randperm(999)[:longest] for _ in range(rows)])
    length = torch.randint(1, longest + 1, (rows, 1))
    items = items.masked_fill(torch.arange(longest) >= length, PADDING)
    return items, without_padding(items)


def without_padding(items: Tensor) -> list[list[int]]:
    """Rows as lists; padding may only stand at their end."""
    rows = []
    for row in items.tolist():
        length = row.index(PADDING) if PADDING in row else len(row)
        assert set(row[length:]) <= {PADDING}
        rows.append(row[:length])
    return rows


OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "crop": lambda items, share: augmentations.crop(items, share, PADDING),
    "mask": lambda items, share: augmentations.mask(items, share, PADDING, MASK),
    "reorder": lambda items, share: augmentations.reorder(items, share, PADDING),
}


@pytest.mark.parametrize("share", SHARES)
def test_a_crop_keeps_one_stretch(share: float) -> None:
    items, rows = batch()
    for row, kept in zip(rows, without_padding(OPERATORS["crop"](items, share)), strict=True):
        assert len(kept) == max(1, math.floor(share * len(row)))
        start = row.index(kept[0])
        assert row[start : start + len(kept)] == kept


@pytest.mark.parametrize("share", SHARES)
def test_a_mask_hides_some_items_and_moves_none(share: float) -> None:
    items, rows = batch()
    for row, shown in zip(rows, without_padding(OPERATORS["mask"](items, share)), strict=True):
        assert len(shown) == len(row)
        hidden = [place for place, item in enumerate(shown) if item == MASK]
        assert len(hidden) == math.floor(share * len(row))
        assert all(shown[place] == row[place] for place in range(len(row)) if place not in hidden)


@pytest.mark.parametrize("share", SHARES)
def test_a_reorder_shuffles_one_stretch(share: float) -> None:
    items, rows = batch()
    for row, shown in zip(rows, without_padding(OPERATORS["reorder"](items, share)), strict=True):
        assert sorted(shown) == sorted(row)
        moved = [place for place in range(len(row)) if shown[place] != row[place]]
        assert not moved or moved[-1] - moved[0] < math.floor(share * len(row))


def test_each_stretch_and_each_place_is_as_likely() -> None:
    items = torch.arange(10).expand(20_000, -1)
    torch.manual_seed(0)
    starts = augmentations.crop(items, 0.6, PADDING)[:, 0].bincount(minlength=10) / 20_000
    torch.testing.assert_close(starts, torch.tensor([0.2] * 5 + [0.0] * 5), atol=0.015, rtol=0)
    hidden = (augmentations.mask(items, 0.3, PADDING, MASK) == MASK).float().mean(dim=0)
    torch.testing.assert_close(hidden, torch.full((10,), 0.3), atol=0.015, rtol=0)
    # A stretch of six begins at 0 to 4; the item that was first leaves if it is inside and moved.
    stayed = (augmentations.reorder(items, 0.6, PADDING)[:, 0] == 0).float().mean().item()
    assert stayed == pytest.approx(0.8 + 0.2 / 6, abs=0.015)
    whole = augmentations.reorder(items, 1.0, PADDING)
    shares = torch.stack([(whole == item).float().mean(dim=0) for item in range(10)])
    torch.testing.assert_close(shares, torch.full((10, 10), 0.1), atol=0.015, rtol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_draws_repeat_with_the_seed_and_leave_the_batch_alone(name: str) -> None:
    items, _ = batch()
    before, results = items.clone(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(OPERATORS[name](items, 0.6))
    assert torch.equal(items, before)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    same = OPERATORS[name](torch.arange(20).expand(50, -1), 0.6)
    assert len({tuple(row.tolist()) for row in same}) > 5


@pytest.mark.parametrize("chance", SHARES[:-1])
def test_dropped_items_are_gone_and_the_others_move_up(chance: float) -> None:
    items, rows = batch()
    found = without_padding(augmentations.drop(items, chance, PADDING))
    gone = asked = 0
    for row, kept in zip(rows, found, strict=True):
        assert kept[0] == row[0]
        assert kept == [item for item in row if item in set(kept)]
        gone, asked = gone + len(row) - len(kept), asked + len(row) - 1
    assert gone / asked == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / asked))
