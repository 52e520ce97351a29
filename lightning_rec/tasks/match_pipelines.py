"""Steps of pipelines of matching: who found each relevant item, and what a ranker reads."""

from typing import Any

import torch
from torch import Tensor

from lightning_rec.data.matching.batches import QueryBatch
from lightning_rec.retrieval.exact import Pairs
from lightning_rec.retrieval.union import UnionRetriever
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.match import MatchSteps
from lightning_rec.tasks.pipelines import Origins, drawn
from lightning_rec.tasks.steps import Stage


class MatchPipelineSteps(MatchSteps):
    """Ranks what retrievers find; an item that none of them found is a miss.

    Arguments as of :class:`MatchSteps`.
    """

    retriever: UnionRetriever

    def __init__(self, *of_matching: Any) -> None:
        super().__init__(*of_matching)
        self.origins = Origins()
        self.origin: dict[str, Tensor] = {}  # of each stage and judged pair, as of Origins

    def evaluate(self, task: Task, batch: QueryBatch, stage: Stage) -> None:
        """Score and rank the batch's judged pairs, and note who found them."""
        if not len(batch.query):
            return
        found, origin = self.retriever.found(batch.query, 1, Pairs(batch.row, batch.item))
        self.metrics[stage].update(batch.pair, found.score, found.rank)
        self.origins.update(batch.pair, origin, found.candidates[batch.row])

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Metrics; who found the pairs is kept, int64 [3, n]."""
        self.conclude(task, stage)
        return super().figures(task, stage)

    def conclude(self, task: Task, stage: Stage) -> None:
        """Keep who found the pairs."""
        none = torch.zeros(0, dtype=torch.int64, device=task.device)
        self.origins.update(none, none, none)
        self.origin[stage] = self.origins.compute().cpu()
        self.origins.reset()


class MatchCollecting(MatchPipelineSteps):
    """Collects what a ranker learns from: candidates of queries of the test that have a relevant
    one.

    Args:
        negatives: other candidates of a query that are kept, drawn at random; None keeps all.
        seed: of the draw.
        relevant: int64 [S], ``query * N + item`` of relevant pairs, sorted.
        of_matching: as of :class:`MatchSteps`.
    """

    def __init__(
        self, negatives: int | None, seed: int, relevant: Tensor, *of_matching: Any
    ) -> None:
        super().__init__(*of_matching)
        self.number, self.seed, self.relevant = negatives, seed, relevant
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []  # query, label, features

    def evaluate(self, task: Task, batch: QueryBatch, stage: Stage) -> None:
        """Keep the batch's candidates; nothing is ranked."""
        found = self.retriever.candidates(batch.query)
        number = self.retriever.num_items
        relevant = self.relevant.to(found.row.device)
        label = torch.isin(batch.query[found.row] * number + found.item, relevant)
        right = torch.bincount(found.row[label], minlength=len(batch.query)) > 0
        keep = drawn(found, label, batch.query, self.number, self.seed) & right[found.row]
        self.kept.append((batch.query[found.row[keep]], label[keep], found.features[keep]))
        origin = torch.zeros_like(batch.item)
        keys, at = (found.row * number + found.item), batch.row * number + batch.item
        if len(keys):  # they rise
            place = torch.searchsorted(keys, at).clamp(max=len(keys) - 1)
            origin = torch.where(keys[place] == at, found.origin[place], 0)
        candidates = torch.bincount(found.row, minlength=len(batch.query))
        self.origins.update(batch.pair, origin, candidates[batch.row])

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """None: what was collected is in ``kept`` and ``origin``."""
        self.conclude(task, stage)
        return {}
