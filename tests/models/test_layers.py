"""Gathering at positions, row by row and all at once; caching until weights change."""

import torch
from torch import Tensor, nn

from lightning_rec.models.layers import CachedInEvaluation, distinct, gather, gather_rows


def test_gather_rows_brings_what_gather_brings_in_the_same_order() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 19, 3)
    some = torch.rand(5, 19) < 0.3
    some[2] = False
    for positions in (some, torch.ones_like(some), torch.tensor([4, 0, 18, 7, 7])):
        rows, places = gather_rows(x, positions)
        assert places.dtype == positions.dtype
        assert torch.equal(gather(rows, places), gather(x, positions))


class Doubled(CachedInEvaluation):
    """Twice its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def twice(self) -> Tensor:
        return self.cached(lambda: self.weight * 2)


def test_what_was_made_is_kept_until_weights_may_have_moved() -> None:
    module = Doubled()
    assert module.twice() is not module.twice()  # while training
    assert not module.twice().requires_grad
    module.eval()
    before = module.twice()
    assert before.tolist() == [2, 2]
    assert module.twice() is before
    with torch.no_grad():
        module.weight += 1  # type: ignore[misc]
    assert module.twice().tolist() == [4, 4]
    assert module.twice() is not before
    module.weight.data += 1  # raises no version, as a fused optimizer does
    nn.Sequential(module).train().eval()
    assert module.twice().tolist() == [6, 6]
    assert module.to("meta").twice().is_meta


def test_items_of_a_row_are_kept_once() -> None:
    items = torch.tensor([[5, 2, 5, 9, 9], [10, 10, 10, 10, 10], [3, 1, 11, 0, 3], [7, 7, 7, 7, 7]])
    once = distinct(items, padding=10)
    assert once.shape == items.shape
    kept = [sorted(row[row != 10].tolist()) for row in once]
    assert kept == [[2, 5, 9], [], [0, 1, 3], [7]]
    assert once.max() == 10
    assert distinct(items[:, :0], padding=10).shape == (4, 0)
