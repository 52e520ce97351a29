"""How much of what several models recommend is the same."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Overlap(Metric):
    """Mean Jaccard index of the top k of each two of ``number`` models, over users.

    Args:
        number: m, of models.
        k: how many of the best items are looked at.
    """

    full_state_update = False
    common: Tensor
    users: Tensor

    def __init__(self, number: int, k: int) -> None:
        super().__init__()
        self.k = k
        zeros = torch.zeros(number, number, dtype=torch.float64)
        self.add_state("common", default=zeros, dist_reduce_fx="sum")
        self.add_state("users", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, tops: Tensor) -> None:
        """Add recommended items, int64 [m, B, k], -1 where there were no more candidates."""
        real = (tops >= 0).sum(dim=2)  # [m, B]
        for one, items in enumerate(tops):
            for other in range(len(tops)):
                alike = items[:, :, None] == tops[other][:, None, :]
                both = (alike & (items >= 0)[:, :, None]).sum(dim=(1, 2))
                either = (real[one] + real[other] - both).clamp(min=1)
                self.common[one, other] += (both.double() / either).sum()
        self.users += tops.shape[1]

    def compute(self) -> Tensor:
        """Float64 [m, m], from 0 to 1."""
        return self.common / self.users.clamp(min=1)
