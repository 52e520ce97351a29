"""Metrics of matching over a part of the queries, the same on any number of processes.

Three sections. ``ndcg@10``, ``recall@10``, ``mrr``: all items of the catalogue ranked for each
query; what nobody judged counts as not relevant. ``judged/ndcg@10``: only the judged items of a
query among themselves. ``pairs/auc``, ``pairs/rmse`` and so on: each judged pair on its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.metrics import classification as C
from lightning_rec.metrics.collected import Collected
from lightning_rec.metrics.measure import Evidence, Measure, means
from lightning_rec.metrics.order import Ordered, in_order
from lightning_rec.metrics.slices import CUTOFF, sliced
from lightning_rec.metrics.targets import Targets, break_ties, rank_within


class Scored(NamedTuple):
    """What evaluation found, one row per judged pair, ordered by the number of the pair.

    pair: int64 [n].  score: float32 [n].  rank: int64 [n], of its item among all items, from 1; 0
    if it was not found, or if the catalogue was not ranked.
    """

    pair: Tensor
    score: Tensor
    rank: Tensor


@dataclass(eq=False)
class JudgedPairs(Evidence):
    """Judged pairs, each on its own.

    score: float [n].  label: bool [n], which pairs are relevant.  relevance: float [n].  predicted:
    relevance by the model, float [n]; None where it predicts none.  threshold: score from which on
    a pair is called relevant; None where there is none.
    """

    inputs = ("score", "label", "relevance", "predicted", "threshold", "order", "confusion")
    rows = "label"
    score: Tensor
    label: Tensor
    relevance: Tensor
    predicted: Tensor | None
    threshold: float | None

    @cached_property
    def confusion(self) -> C.Confusion | None:
        """What the threshold gets right."""
        if self.threshold is None:
            return None
        return C.confusion(self.score, self.label, self.threshold)

    @property
    def order(self) -> Ordered:
        """All pairs by their scores."""
        return in_order(self.score, self.label)

    @classmethod
    def sample(cls) -> "JudgedPairs":
        """Four pairs."""
        score, relevance = torch.tensor([0.5, -1, 2, 1]), torch.tensor([1.0, 0, 1, 0.5])
        return cls(score, relevance > 0.5, relevance, score.clamp(0, 1), 0.5)


class MatchMetrics(Collected[Scored]):
    """Collects a score, and a rank, per judged pair; computes every metric.

    What pairs are about is known before anything is scored, so that scores and ranks alone are
    exchanged between processes.

    Args:
        ranked: whether the catalogue is ranked.
        cutoffs, slices, measured: see :class:`Collected`; slices are of queries.
    """

    columns = Scored
    sections = {
        "ranking": Targets,
        "judged": Targets,
        "pairs": JudgedPairs,
    }
    families = ("matching",)

    def __init__(
        self,
        pairs: Pairs,
        cutoffs: Sequence[int],
        ranked: bool,
        slices: Mapping[str, Tensor] | None = None,
        measured: Sequence[Measure] | None = None,
    ) -> None:
        super().__init__(measured, cutoffs, slices)
        self.ranked, self.catalogue = ranked, len(pairs.items)
        self.query, self.gain, self.relevance, self.positive = (
            torch.from_numpy(getattr(pairs, name).copy())
            for name in ("query", "gain", "relevance", "positive")
        )

    def update(self, pair: Tensor, score: Tensor, rank: Tensor) -> None:
        """Add a batch: int64 [S], float [S], int64 [S]."""
        self.append(pair, score.float(), rank)

    def figures(
        self, found: Scored, threshold: float | None, predicted: Tensor | None
    ) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars; see :class:`JudgedPairs`."""
        query, targets = self._targets(found)
        positive, relevance = self.positive[found.pair], self.relevance[found.pair]
        pairs = JudgedPairs(found.score, positive, relevance, predicted, threshold)
        figures = means(self._ranked(targets))
        figures |= means(self.values("pairs", pairs))
        told = self._ranked(targets, (CUTOFF,), slices=True)
        told = {name.replace("/", "_"): values for name, values in told.items()}
        return figures | sliced(query, self.slices, partial(means, told))

    def per_query(self, found: Scored) -> dict[str, Tensor]:
        """Every metric of each query, float64 [G]; ``query``, ``judged``, ``relevant``: int64 [G].

        ``first`` is the rank of the first relevant item, NaN where none was found.
        """
        query, targets = self._targets(found)
        each = {n: v for n, v in self._ranked(targets).items() if v.ndim}
        if "mrr" in each:
            each["first"] = (1 / each["mrr"]).round().masked_fill(each["mrr"] == 0, torch.nan)
        group = targets["judged"].example
        judged = torch.bincount(group)
        relevant = torch.bincount(group[self.positive[found.pair]], minlength=len(judged))
        return {"query": query, "judged": judged, "relevant": relevant, **each}

    def _targets(self, found: Scored) -> tuple[Tensor, dict[str, Targets]]:
        """The queries, int64 [G], and their judged items as targets of each ranking."""
        query, group = torch.unique_consecutive(self.query[found.pair], return_inverse=True)
        gain, positive = self.gain[found.pair], self.positive[found.pair]
        judged = torch.bincount(group)
        ranks = {"judged": (rank_within(found.score, group), judged)}
        if self.ranked:
            ranks["ranking"] = (found.rank, torch.full_like(judged, self.catalogue))
        return query, {
            section: Targets(group, break_ties(rank, gain, group), gain, positive, candidates)
            for section, (rank, candidates) in ranks.items()
        }

    def _ranked(
        self,
        targets: Mapping[str, Targets],
        cutoffs: Sequence[int] | None = None,
        *,
        slices: bool = False,
    ) -> dict[str, Tensor]:
        """The metrics of each ranking, or those alone that are told of slices."""
        of = (self.values(name, each, cutoffs, slices=slices) for name, each in targets.items())
        return {name: values for found in of for name, values in found.items()}


def rmse(predicted: Tensor, relevance: Tensor) -> Tensor:
    """Root of the mean squared distance, float64 scalar."""
    return (predicted.double() - relevance.double()).square().mean().sqrt()


def line(score: Tensor, relevance: Tensor) -> tuple[float, float]:
    """Intercept and slope of the line that fits relevance best, by least squares."""
    x, y = score.double(), relevance.double()
    spread = (x - x.mean()).square().sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else torch.zeros(())
    return float(y.mean() - slope * x.mean()), float(slope)
