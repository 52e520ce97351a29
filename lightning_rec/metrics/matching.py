"""Metrics of matching over a part of the queries, the same on any number of processes.

Three kinds, by their names. ``ndcg@10``, ``recall@10``, ``mrr``: all items of the catalogue ranked
for each query; what nobody judged counts as not relevant. ``judged/ndcg@10``: only the judged items
of a query among themselves. ``pairs/auc``, ``pairs/rmse`` and so on: each judged pair on its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.metrics import classification as C
from lightning_rec.metrics import graded as F
from lightning_rec.metrics.order import in_order

PAIRS = ("auc", "rmse", "accuracy", "precision", "recall", "f1", "threshold", "rate")
SLICED_AT = 10


def metric_names(cutoffs: Sequence[int], ranked: bool) -> list[str]:
    """Names of all metrics at these cut-offs, without the stage; ``ranked``: the catalogue is."""
    names = [f"{kind}@{k}" for kind in ("ndcg", "recall", "map") for k in cutoffs] + ["mrr"]
    judged = [f"judged/{kind}@{k}" for kind in ("ndcg", "map") for k in cutoffs]
    return [*(names if ranked else []), *judged, *(f"pairs/{name}" for name in PAIRS)]


class Scored(NamedTuple):
    """What evaluation found, one row per judged pair, ordered by the number of the pair.

    pair: int64 [n].  score: float32 [n].  rank: int64 [n], of its item among all items, from 1; 0
    if it was not found, or if the catalogue was not ranked.
    """

    pair: Tensor
    score: Tensor
    rank: Tensor


class MatchMetrics(Metric):
    """Collects a score, and a rank, per judged pair; computes every metric.

    What pairs are about is known before anything is scored, so that scores and ranks alone are
    exchanged between processes. They are put in the order of the pairs first: sums do not depend on
    who computed what.

    Args:
        pairs: all pairs.
        cutoffs: the k of ``ndcg@k``, ``recall@k`` and ``map@k``.
        ranked: whether the catalogue is ranked.
        slices: bool [Q] by name, over all queries; ndcg of ranked and of judged items is told for
            each of them as well, as ``words_1/ndcg@10``, with ``words_1/examples``.
    """

    full_state_update = False
    pair: list[Tensor]
    score: list[Tensor]
    rank: list[Tensor]

    def __init__(
        self,
        pairs: Pairs,
        cutoffs: Sequence[int],
        ranked: bool,
        slices: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(sync_on_compute=True)
        self.cutoffs, self.ranked, self.slices = tuple(cutoffs), ranked, dict(slices or {})
        # No buffers: all is measured on the CPU, to the same bit whatever device has scored.
        self.query, self.gain, self.relevance, self.positive = (
            torch.from_numpy(getattr(pairs, name).copy())
            for name in ("query", "gain", "relevance", "positive")
        )
        for name in Scored._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, pair: Tensor, score: Tensor, rank: Tensor) -> None:
        """Add a batch: int64 [S], float [S], int64 [S]."""
        self.pair.append(pair)
        self.score.append(score.float())
        self.rank.append(rank)

    def compute(self) -> Scored:
        """All pairs, complete on every process, on the CPU."""
        pair, score, rank = (_joined(part).cpu() for part in (self.pair, self.score, self.rank))
        order = torch.argsort(pair)
        return Scored(pair[order], score[order], rank[order])

    def figures(
        self, found: Scored, threshold: float | None, predicted: Tensor | None
    ) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars.

        Args:
            found: of all pairs of a part.
            threshold: score from which on a pair is called relevant; None leaves out what needs it.
            predicted: relevance by the model, float [n]; None leaves out ``rmse``.
        """
        each = self.per_query(found)
        names = [name for name in each if "@" in name or name == "mrr"]
        figures = {name: F.defined(each[name]) for name in names}
        positive = self.positive[found.pair]
        figures["pairs/auc"] = C.auc(in_order(found.score, positive))
        figures["pairs/rate"] = positive.double().mean()
        if predicted is not None:
            figures["pairs/rmse"] = F.rmse(predicted, self.relevance[found.pair])
        if threshold is not None:
            measured = C.at_threshold(found.score, positive, threshold)
            measured["threshold"] = torch.tensor(threshold, dtype=torch.float64)
            figures |= {f"pairs/{name}": value for name, value in measured.items()}
        return figures | self._sliced(each)

    def per_query(self, found: Scored) -> dict[str, Tensor]:
        """Every metric of each query, float64 [G]; ``query``, ``judged``, ``relevant``: int64 [G].

        ``first`` is the rank of the first relevant item, NaN where none was found.
        """
        query, group = torch.unique_consecutive(self.query[found.pair], return_inverse=True)
        gain, positive = self.gain[found.pair], self.positive[found.pair]
        within = F.parted(F.ranks_within(found.score, group), gain, group)
        each = {f"judged/ndcg@{k}": F.ndcg(within, gain, group, k) for k in self.cutoffs}
        each |= {
            f"judged/map@{k}": F.average_precision(within, positive, group, k) for k in self.cutoffs
        }
        if self.ranked:
            rank = F.parted(found.rank, gain, group)
            each |= {f"ndcg@{k}": F.ndcg(rank, gain, group, k) for k in self.cutoffs}
            each |= {f"recall@{k}": F.recall(rank, positive, group, k) for k in self.cutoffs}
            each |= {
                f"map@{k}": F.average_precision(rank, positive, group, k) for k in self.cutoffs
            }
            each["mrr"] = F.mrr(rank, positive, group)
            each["first"] = (1 / each["mrr"]).round().masked_fill(each["mrr"] == 0, torch.nan)
        judged = torch.bincount(group)
        relevant = torch.bincount(group[positive], minlength=len(judged))
        return {"query": query, "judged": judged, "relevant": relevant, **each}

    def _sliced(self, each: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Figures of the slices, at one cut-off."""
        figures = {}
        names = [f"{kind}ndcg@{SLICED_AT}" for kind in ("", "judged/")]
        for name, members in self.slices.items():
            inside = members[each["query"]]
            figures[f"{name}/examples"] = inside.sum().double()
            for metric in names:
                if metric in each and inside.any():
                    figures[f"{name}/{metric.replace('/', '_')}"] = F.defined(each[metric][inside])
        return figures


def _joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """Synchronised list states arrive as one tensor, others as a list."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
