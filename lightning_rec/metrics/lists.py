"""What is recommended, whether or not it is right: pure functions of the lists of all examples.

``recommended`` is int64 [num_items], how often each item stands in anyone's list, and
``train_counts`` int64 [num_items], how many training events it has. Both are whole numbers, summed
without loss over processes. All but the last function return a float64 scalar.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_rec.metrics.measure import Evidence

HEAD_SHARE = 0.2  # the popular items: this share of the catalogue, by training events


@dataclass(eq=False)
class Lists(Evidence):
    """How often each item is in the top k of anyone, int64 [K, num_items], at K cut-offs."""

    inputs = ("recommended", "train_counts", "k")
    cut = ("recommended", "k")
    number = 0  # what is measured is of all lists together
    counts: Tensor
    train_counts: Tensor
    cutoffs: Sequence[int]

    def get(self, name: str, k: int) -> Tensor | int:
        """An input at a cut-off."""
        return self.counts[self.cutoffs.index(k)] if name == "recommended" else super().get(name, k)

    @classmethod
    def sample(cls) -> "Lists":
        """Lists of two of four items."""
        return cls(torch.tensor([[3, 1, 2, 0]]), torch.tensor([9, 2, 1, 4]), (2,))


@dataclass(eq=False)
class Tops(Evidence):
    """What is recommended to the examples of a batch.

    top: int64 [B, max k], items, best first; -1 where there are no more.  features: float
    [num_items, F]; None where nothing is known of the items.
    """

    inputs = ("top", "features", "train_counts", "k")
    cut = ("top", "k")
    rows = "top"
    each = True  # what is kept of a list is its value
    top: Tensor
    train_counts: Tensor
    features: Tensor | None

    def get(self, name: str, k: int) -> Tensor | int | None:
        """An input at a cut-off."""
        return self.top[:, :k] if name == "top" else super().get(name, k)

    @classmethod
    def sample(cls) -> "Tops":
        """Three lists of two of four items, one of them short."""
        top, features = torch.tensor([[0, 3], [2, 1], [1, -1]]), torch.eye(4)
        return cls(top, torch.tensor([9, 2, 1, 4]), features)


def head_items(train_counts: Tensor) -> Tensor:
    """The 20 % of items with most training events, at least one of them: bool [num_items]."""
    popular = torch.argsort(train_counts, descending=True, stable=True)
    head = torch.zeros_like(train_counts, dtype=torch.bool)
    head[popular[: max(1, round(HEAD_SHARE * len(train_counts)))]] = True
    return head


def coverage(recommended: Tensor, train_counts: Tensor) -> Tensor:
    """Share of the catalogue that is recommended to anyone."""
    return (recommended > 0).double().mean()


def popular(recommended: Tensor, train_counts: Tensor) -> Tensor:
    """Share of recommendations that goes to the head of the catalogue."""
    return torch.div(recommended[head_items(train_counts)].sum().double(), recommended.sum())


def novelty(recommended: Tensor, train_counts: Tensor) -> Tensor:
    """Mean self-information of what is recommended, in bits: ``-log2(share of training events)``.

    Zhou et al., PNAS 2010; Vargas and Castells, RecSys 2011. An item without any training event
    counts as if it had one.
    """
    counts = train_counts.clamp(min=1).double()
    bits = torch.log2(train_counts.sum().double() / counts)
    return (recommended * bits).sum() / recommended.sum()


def gini(recommended: Tensor, train_counts: Tensor) -> Tensor:
    """Gini index of exposure over the catalogue: 0 if all have as much, 1 - 1/n if one has all.

    ``sum((2 i - n - 1) x_i) / (n sum(x))`` with the counts x in rising order, i from 1 to n.
    """
    exposure, size = recommended.sort().values, len(recommended)
    weight = 2 * torch.arange(1, size + 1, device=exposure.device) - size - 1
    return torch.div((weight * exposure).sum().double(), size * exposure.sum())


def intra_list_diversity(top: Tensor, features: Tensor) -> Tensor:
    """Mean over the pairs of a list of ``1 - cosine`` of their features.

    Ziegler et al., WWW 2005, with the cosine for similarity. With unit vectors f the mean over
    pairs follows from their sum alone: ``|sum(f)|² = n + 2 * (sum of the cosines)``. NaN for a list
    of fewer than two items.

    Args:
        top: int64 [B, k], items; -1 where there is none.
        features: float [num_items, F], such as 0 and 1 for genres. Items without any feature
            (all 0) are left out of the list.
    """
    total = torch.zeros(len(top), features.shape[1], dtype=torch.float64, device=top.device)
    number = torch.zeros(len(top), dtype=torch.float64, device=top.device)
    for item in top.unbind(1):  # so that each list is summed in the same order
        vector = features[item.clamp(min=0)].double() * (item >= 0).unsqueeze(1)
        norm = vector.square().sum(dim=1, keepdim=True).sqrt()
        total += torch.where(norm > 0, vector / norm, 0.0)
        number += norm[:, 0] > 0
    cosines = (total.square().sum(dim=1) - number) / (number * (number - 1))
    return torch.where(number > 1, 1 - cosines, torch.nan)
