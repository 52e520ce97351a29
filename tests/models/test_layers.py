"""Reading at places, row by row and all at once."""

import torch

from lightning_rec.models.layers import gather, pick


def test_gather_brings_what_pick_brings_in_the_same_order() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 19, 3)
    some = torch.rand(5, 19) < 0.3
    some[2] = False
    for at in (some, torch.ones_like(some), torch.tensor([4, 0, 18, 7, 7])):
        read, there = gather(x, at)
        assert read.shape[:2] == there.shape
        assert torch.equal(read[there], pick(x, at))
