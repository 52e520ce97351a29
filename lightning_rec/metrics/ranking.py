"""Metrics of ranked catalogues over a data set: what is collected, and the figures of it."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.metrics.collected import Collected, joined
from lightning_rec.metrics.lists import Lists, Tops
from lightning_rec.metrics.measure import Measure, means
from lightning_rec.metrics.slices import CUTOFF, Slices, sliced
from lightning_rec.metrics.targets import SingleTargets


class Ranks(NamedTuple):
    """What evaluation found, one row per example, ordered by example number; all int64 [n].

    example: its number.  rank: of the target, from 1; 0 for a target that is no candidate.
    candidates: number of items ranked.
    """

    example: Tensor
    rank: Tensor
    candidates: Tensor


class RankingMetrics(Collected[Ranks]):
    """Collects ranks and recommended items; computes every metric at every cut-off.

    Ranks and counts of recommendations are whole numbers. What is kept is of the size of the
    examples plus cut-offs x items, never users x items.

    Args:
        train_counts: int64 [num_items], training events of each item.
        suffix: for ranks among sampled candidates, what is put after each name. What the lists
            hold is then not measured: they were not made of the sample.
        features: float [num_items, F], for ``diversity@k``; None leaves it out.
        cutoffs, slices, measured: see :class:`Collected`.
    """

    columns = Ranks
    sections = {
        "ranking": SingleTargets,
        "lists": Lists,
        "top": Tops,
    }
    families = ("ranking", "lists", "diversity")
    example: list[Tensor]
    recommended: Tensor
    train_counts: Tensor
    features: Tensor | None
    listed: list[Tensor]

    def __init__(
        self,
        train_counts: Tensor,
        cutoffs: Sequence[int],
        suffix: str = "",
        features: Tensor | None = None,
        slices: Slices | None = None,
        measured: Sequence[Measure] | None = None,
    ) -> None:
        super().__init__(measured, cutoffs, slices)
        self.suffix = suffix
        self.register_buffer("train_counts", train_counts, persistent=False)
        self.register_buffer("features", None if suffix else features, persistent=False)
        if self._listed_names():
            self.add_state("listed", default=[], dist_reduce_fx="cat")
        zeros = torch.zeros(len(self.cutoffs), len(train_counts), dtype=torch.int64)
        self.add_state("recommended", default=zeros, dist_reduce_fx="sum")

    def update(
        self, example: Tensor, rank: Tensor, candidates: Tensor, top: Tensor | None = None
    ) -> None:
        """Add a batch, all int64.

        example, rank, candidates: [B].  top: [B, max(cutoffs)], recommended items, best first, -1
        where there were no more candidates; not needed for ranks among sampled candidates.
        """
        self.append(example, rank, candidates)
        if self.suffix:
            return
        assert top is not None
        for row, k in enumerate(self.cutoffs):
            items = top[:, :k]
            items = items[items >= 0]
            self.recommended[row] += torch.bincount(items, minlength=self.recommended.shape[1])
        if names := self._listed_names():
            listed = torch.zeros(0, len(names), dtype=torch.float64, device=top.device)
            if len(top):
                tops = Tops(top, self.train_counts, self.features)
                listed = torch.stack([*self.values("top", tops).values()], dim=1)
            self.listed.append(listed)

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name (``recall@10``, ``auc``, …), float64 scalars."""
        ranks, end = self.rows(), self.suffix
        targets = _targets(ranks)
        each = self.values("ranking", targets)
        figures = {f"{name}{end}": mean for name, mean in means(each).items()}
        if not end:
            lists = Lists(self.recommended.cpu(), self.train_counts.cpu(), self.cutoffs)
            figures |= self.values("lists", lists)
            if names := self._listed_names():
                listed = joined(self.listed).cpu()[torch.argsort(joined(self.example).cpu())]
                found = means(dict(zip(names, listed.unbind(1), strict=True)))
                figures |= {name: mean for name, mean in found.items() if not mean.isnan()}
        told = self.values("ranking", targets, (CUTOFF,), slices=True)
        told = {f"{name}{end}": values for name, values in told.items()}
        return figures | sliced(ranks.example, self.slices, partial(means, told))

    def per_example(self, ranks: Ranks) -> dict[str, Tensor]:
        """Values of the user's own metrics of ranks, float64 [n] each."""
        return self.own("ranking", _targets(ranks))

    def _listed_names(self) -> list[str]:
        """Names of what is measured of each list, as far as what it takes is known."""
        if self.suffix:
            return []
        tops = [metric for metric in self.measures if metric.section == "top"]
        if self.features is None:
            tops = [metric for metric in tops if "features" not in metric.needed]
        return [name for metric in tops for name in metric.names(self.cutoffs)]


def _targets(ranks: Ranks) -> SingleTargets:
    example = torch.arange(len(ranks.rank), device=ranks.rank.device)
    return SingleTargets(example, ranks.rank, candidates=ranks.candidates)
