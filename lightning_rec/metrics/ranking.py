"""Ranking metrics over a data set, the same to the last bit on any number of processes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.metrics import functional as F

HEAD_SHARE = 0.2  # the popular items: this share of the catalogue, by training events
PER_CUTOFF = {
    "recall": F.recall,
    "ndcg": F.ndcg,
    "mrr": F.mrr,
    "precision": F.precision,
    "f1": F.f1,
}


def metric_names(cutoffs: Sequence[int]) -> list[str]:
    """Names of all metrics at these cut-offs, without the stage."""
    kinds = (*PER_CUTOFF, "coverage", "popular")
    return [f"{kind}@{k}" for kind in kinds for k in cutoffs] + ["mrr", "auc"]


class Ranks(NamedTuple):
    """What evaluation found, one row per example, ordered by example number; all int64 [n].

    example: its number.  rank: of the target, from 1; 0 for a target that is no candidate.
    candidates: number of items ranked.
    """

    example: Tensor
    rank: Tensor
    candidates: Tensor


class RankingMetrics(Metric):
    """Collects ranks and recommended items; computes every metric at every cut-off.

    Ranks are whole numbers, sorted by example before anything is averaged, and recommendations
    are counted in whole numbers: sums do not depend on who computed what. What is kept is of the
    size of the examples plus cut-offs x items, never users x items.

    Besides the metrics of one example, averaged: ``coverage@k``, the share of the catalogue that
    is recommended to anyone, and ``popular@k``, the share of recommendations that goes to the 20 %
    of items with most training events.

    Args:
        train_counts: int64 [num_items], training events of each item.
        cutoffs: the k of ``recall@k`` and its kin.
    """

    full_state_update = False
    example: list[Tensor]
    rank: list[Tensor]
    candidates: list[Tensor]
    recommended: Tensor
    head: Tensor

    def __init__(self, train_counts: Tensor, cutoffs: Sequence[int]) -> None:
        super().__init__(sync_on_compute=True)
        self.cutoffs = tuple(cutoffs)
        num_items = len(train_counts)
        popular = torch.argsort(train_counts, descending=True, stable=True)
        head = torch.zeros(num_items, dtype=torch.bool)
        head[popular[: max(1, round(HEAD_SHARE * num_items))]] = True
        self.register_buffer("head", head, persistent=False)
        for name in Ranks._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        zeros = torch.zeros(len(self.cutoffs), num_items, dtype=torch.int64)
        self.add_state("recommended", default=zeros, dist_reduce_fx="sum")

    def update(self, example: Tensor, rank: Tensor, candidates: Tensor, top: Tensor) -> None:
        """Add a batch, all int64.

        example, rank, candidates: [B].  top: [B, max(cutoffs)], recommended items, best first, -1
        where there were no more candidates.
        """
        self.example.append(example)
        self.rank.append(rank)
        self.candidates.append(candidates)
        for row, k in enumerate(self.cutoffs):
            items = top[:, :k]
            items = items[items >= 0]
            self.recommended[row] += torch.bincount(items, minlength=self.recommended.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name (``recall@10``, ``auc``, …), float64 scalars."""
        ranks = self.ranks()
        means = {
            f"{name}@{k}": metric(ranks.rank, k).mean()
            for name, metric in PER_CUTOFF.items()
            for k in self.cutoffs
        }
        means["mrr"] = F.mrr(ranks.rank).mean()
        means["auc"] = F.auc(ranks.rank, ranks.candidates).mean()
        for row, k in enumerate(self.cutoffs):
            counts = self.recommended[row]
            means[f"coverage@{k}"] = (counts > 0).double().mean()
            means[f"popular@{k}"] = counts[self.head].sum().double() / counts.sum().double()
        return means

    def ranks(self) -> Ranks:
        """The ranks so far, by example number. Complete on every process once computed in sync."""
        columns = [_joined(getattr(self, name)) for name in Ranks._fields]
        order = torch.argsort(columns[0])
        return Ranks(*(column[order] for column in columns))


def _joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """Synchronised list states arrive as one tensor, others as a list."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
