"""What is computed at once: what a cache holds on a CPU, what keeps a GPU busy elsewhere."""

import pytest
import torch

from lightning_rec.losses.full import linear_cross_entropy
from lightning_rec.models.at_once import bytes_at_once


def test_a_gpu_is_given_more_at_once() -> None:
    assert bytes_at_once(torch.device("cpu"), 1000) == 1000
    assert bytes_at_once(torch.device("cuda"), 1000) == 2**28
    assert bytes_at_once(torch.device("cuda"), 2**29) == 2**29


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_a_softmax_is_the_same_in_blocks_of_any_size(block: int) -> None:
    chance = torch.Generator().manual_seed(3)
    queries = torch.randn(50, 6, generator=chance, requires_grad=True)
    weight = torch.randn(30, 6, generator=chance, requires_grad=True)
    target = torch.randint(30, (50,), generator=chance)
    whole = torch.nn.functional.cross_entropy(queries @ weight.T, target)
    expected = torch.autograd.grad(whole, [queries, weight])
    found = linear_cross_entropy(queries, weight, None, target, block)
    torch.testing.assert_close(found, whole)
    torch.testing.assert_close(torch.autograd.grad(found, [queries, weight]), expected)
