"""Metrics of ranked catalogues over a data set: what is collected, and the figures of it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.figures import shipped
from lightning_rec.metrics.collected import Collected, joined
from lightning_rec.metrics.lists import Lists, Tops
from lightning_rec.metrics.measure import Evidence, Measure, defined, measures
from lightning_rec.metrics.slices import CUTOFF, Slices, sliced
from lightning_rec.metrics.targets import SingleTargets

SECTIONS: Mapping[str, type[Evidence]] = MappingProxyType(
    {"ranking": SingleTargets, "lists": Lists, "top": Tops}
)


def default_measures() -> tuple[Measure, ...]:
    """What ``metrics=[default]`` measures of sequences."""
    nodes = shipped("ranking") | shipped("lists") | shipped("diversity")
    return measures(nodes, SECTIONS)


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
        cutoffs: the k of ``recall@k`` and its kin.
        suffix: for ranks among sampled candidates, what is put after each name. What the lists
            hold is then not measured: they were not made of the sample.
        features: float [num_items, F], for ``diversity@k``; None leaves it out.
        slices: bool [number of all examples] by name; ``head/ndcg@10`` and others are told for each
            of them as well, with ``head/examples``.
        slice_cutoff: the k of those.
        measured: the metrics; None takes the default ones.
    """

    columns = Ranks
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
        slice_cutoff: int = CUTOFF,
        measured: Sequence[Measure] | None = None,
    ) -> None:
        super().__init__()
        self.cutoffs, self.suffix = tuple(cutoffs), suffix
        self.slices, self.slice_cutoff = dict(slices or {}), slice_cutoff
        every = default_measures() if measured is None else measured
        self.measures = {name: [m for m in every if m.section == name] for name in SECTIONS}
        self.register_buffer("train_counts", train_counts, persistent=False)
        self.register_buffer("features", None if suffix else features, persistent=False)
        if features is None or suffix:  # what needs them is not measured
            tops = self.measures["top"]
            self.measures["top"] = [m for m in tops if "features" not in m.inputs and not suffix]
        if self.measures["top"]:
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
            values: list[Tensor] = []
            if len(top):
                tops = Tops(top, self.train_counts, self.features)
                values = [v for m in self.measures["top"] for v in m(tops, self.cutoffs).values()]
            empty = torch.zeros(0, len(names), dtype=torch.float64, device=top.device)
            self.listed.append(torch.stack(values, dim=1) if values else empty)

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name (``recall@10``, ``auc``, …), float64 scalars."""
        ranks, end = self.ranks(), self.suffix
        each = self.per_example(ranks)
        figures = {f"{name}{end}": defined(values) for name, values in each.items()}
        if not end:
            lists = Lists(self.recommended, self.train_counts, self.cutoffs)
            for metric in self.measures["lists"]:
                figures |= metric(lists, self.cutoffs)
            if names := self._listed_names():
                values = joined(self.listed)[torch.argsort(joined(self.example))]
                means = map(defined, values.unbind(1))
                found = zip(names, means, strict=True)
                figures |= {name: mean for name, mean in found if not mean.isnan()}
        return figures | self._sliced(ranks)

    def ranks(self) -> Ranks:
        """The ranks so far, by example number. Complete on every process once computed in sync."""
        return self.rows()

    def per_example(self, ranks: Ranks, *, own: bool = False) -> dict[str, Tensor]:
        """Values of the metrics of ranks, float64 [n] each; ``own``: of the user's own alone."""
        targets = _targets(ranks)
        chosen = [m for m in self.measures["ranking"] if m.own or not own]
        return {n: v for m in chosen for n, v in m(targets, self.cutoffs).items()}

    def _sliced(self, ranks: Ranks) -> dict[str, Tensor]:
        """Figures of the slices, at one cut-off."""
        told = [m for m in self.measures["ranking"] if m.figure.slices]
        each = {n: v for m in told for n, v in m(_targets(ranks), (self.slice_cutoff,)).items()}

        def measure(inside: Tensor) -> dict[str, Tensor]:
            return {f"{name}{self.suffix}": defined(v[inside]) for name, v in each.items()}

        return sliced(ranks.example, self.slices, measure)

    def _listed_names(self) -> list[str]:
        return [name for m in self.measures["top"] for name in m.names(self.cutoffs)]


def metric_names(
    cutoffs: Sequence[int], suffix: str = "", measured: Sequence[Measure] | None = None
) -> list[str]:
    """Names of all metrics that every data set has at these cut-offs, without the stage.

    With a ``suffix`` they are those of ranks among sampled candidates.
    """
    every = default_measures() if measured is None else measured
    kept = [
        m for m in every if "features" not in m.inputs and (m.section == "ranking" or not suffix)
    ]
    return [f"{name}{suffix}" for m in kept for name in m.names(cutoffs)]


def _targets(ranks: Ranks) -> SingleTargets:
    """One target of each example."""
    example = torch.arange(len(ranks.rank), device=ranks.rank.device)
    return SingleTargets(example, ranks.rank, candidates=ranks.candidates)
