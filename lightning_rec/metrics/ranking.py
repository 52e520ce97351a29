"""Ranking metrics over a data set, the same to the last bit on any number of processes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.metrics import functional as F
from lightning_rec.metrics import lists
from lightning_rec.metrics.slices import Slices, sliced

PER_CUTOFF = {
    "recall": F.recall,
    "ndcg": F.ndcg,
    "mrr": F.mrr,
    "precision": F.precision,
    "f1": F.f1,
    "map": F.average_precision,
}
PER_LIST = {
    "coverage": lists.coverage,
    "popular": lists.popular,
    "novelty": lists.novelty,
    "gini": lists.gini,
}


def metric_names(cutoffs: Sequence[int], suffix: str = "") -> list[str]:
    """Names of all metrics that every data set has at these cut-offs, without the stage.

    With a ``suffix`` they are those of ranks among sampled candidates.
    """
    kinds = [*PER_CUTOFF, *(() if suffix else PER_LIST)]
    names = [f"{kind}@{k}" for kind in kinds for k in cutoffs]
    return [f"{name}{suffix}" for name in (*names, "mrr", "auc")]


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

    Besides the metrics of one example, averaged, there are those of all lists together:
    ``coverage@k``, ``popular@k``, ``novelty@k``, ``gini@k``.

    Args:
        train_counts: int64 [num_items], training events of each item.
        cutoffs: the k of ``recall@k`` and its kin.
        suffix: for ranks among sampled candidates, what is put after each name. What the lists
            hold is then not measured: they were not made of the sample.
        features: float [num_items, F], for ``diversity@k``, k > 1; None leaves it out.
        slices: bool [number of all examples] by name; recall and ndcg are told for each of them
            as well, as ``head/ndcg@10``, with ``head/examples``.
        slice_cutoff: the k of those.
    """

    full_state_update = False
    example: list[Tensor]
    rank: list[Tensor]
    candidates: list[Tensor]
    diversity: list[Tensor]
    recommended: Tensor
    train_counts: Tensor
    features: Tensor | None

    def __init__(
        self,
        train_counts: Tensor,
        cutoffs: Sequence[int],
        suffix: str = "",
        features: Tensor | None = None,
        slices: Slices | None = None,
        slice_cutoff: int = 10,
    ) -> None:
        super().__init__(sync_on_compute=True)
        self.cutoffs, self.suffix = tuple(cutoffs), suffix
        self.slices, self.slice_cutoff = dict(slices or {}), slice_cutoff
        self.several = tuple(k for k in self.cutoffs if k > 1)  # where a list has pairs
        self.register_buffer("train_counts", train_counts, persistent=False)
        diverse = features if self.several and not suffix else None
        self.register_buffer("features", diverse, persistent=False)
        for name in Ranks._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        if self.features is not None:
            self.add_state("diversity", default=[], dist_reduce_fx="cat")
        zeros = torch.zeros(len(self.cutoffs), len(train_counts), dtype=torch.int64)
        self.add_state("recommended", default=zeros, dist_reduce_fx="sum")

    def update(
        self, example: Tensor, rank: Tensor, candidates: Tensor, top: Tensor | None = None
    ) -> None:
        """Add a batch, all int64.

        example, rank, candidates: [B].  top: [B, max(cutoffs)], recommended items, best first, -1
        where there were no more candidates; not needed for ranks among sampled candidates.
        """
        self.example.append(example)
        self.rank.append(rank)
        self.candidates.append(candidates)
        if self.suffix:
            return
        assert top is not None
        for row, k in enumerate(self.cutoffs):
            items = top[:, :k]
            items = items[items >= 0]
            self.recommended[row] += torch.bincount(items, minlength=self.recommended.shape[1])
        if self.features is not None:
            each = [lists.intra_list_diversity(top[:, :k], self.features) for k in self.several]
            self.diversity.append(torch.stack(each, dim=1))  # [B, cut-offs above 1]

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name (``recall@10``, ``auc``, …), float64 scalars."""
        ranks, end = self.ranks(), self.suffix
        figures = {
            f"{name}@{k}{end}": metric(ranks.rank, k).mean()
            for name, metric in PER_CUTOFF.items()
            for k in self.cutoffs
        }
        figures[f"mrr{end}"] = F.mrr(ranks.rank).mean()
        figures[f"auc{end}"] = F.auc(ranks.rank, ranks.candidates).mean()
        if not self.suffix:
            figures |= self._of_lists()
        return figures | sliced(ranks.example, ranks.rank, self.slices, self.slice_cutoff, end)

    def ranks(self) -> Ranks:
        """The ranks so far, by example number. Complete on every process once computed in sync."""
        return Ranks(*(self._by_example(name) for name in Ranks._fields))

    def _of_lists(self) -> dict[str, Tensor]:
        """The metrics of recommended items."""
        figures = {
            f"{name}@{k}": metric(self.recommended[row], self.train_counts)
            for name, metric in PER_LIST.items()
            for row, k in enumerate(self.cutoffs)
        }
        if self.features is None:
            return figures
        for column, k in enumerate(self.several):
            each = self._by_example("diversity")[:, column]
            there = each[~each.isnan()]
            if len(there):  # else no list has two items with features
                figures[f"diversity@{k}"] = there.mean()
        return figures

    def _by_example(self, name: str) -> Tensor:
        """A collected column, in the order of the examples."""
        return _joined(getattr(self, name))[torch.argsort(_joined(self.example))]


def _joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """Synchronised list states arrive as one tensor, others as a list."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
