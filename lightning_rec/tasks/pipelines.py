"""Steps of pipelines: ranks among candidates, who found each target, and what a ranker reads."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.data.batches import EvalBatch
from lightning_rec.data.chance import bits
from lightning_rec.metrics.collected import joined
from lightning_rec.models.candidates import LOWEST, Candidates
from lightning_rec.models.pipelines import Pipeline
from lightning_rec.retrieval.exact import ModelRetriever, Pairs, among, rank_sample
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.sequence import SequenceSteps
from lightning_rec.tasks.steps import Stage


class Origins(Metric):
    """Of each example who found its target, and how many candidates it had; int64 [n] each.

    ``example``: its number. ``origin``: bit i says whether retriever i did; 0: nobody.
    """

    full_state_update = False
    example: list[Tensor]
    origin: list[Tensor]
    candidates: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("example", "origin", "candidates"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, example: Tensor, origin: Tensor, candidates: Tensor) -> None:
        """Add a batch."""
        for name, values in zip(self._defaults, (example, origin, candidates), strict=True):
            getattr(self, name).append(values)

    def compute(self) -> Tensor:
        """All of them by example, int64 [3, n], complete on every process."""
        columns = torch.stack([joined(getattr(self, name)) for name in self._defaults])
        return columns[:, columns[0].argsort()]


class PipelineSteps(SequenceSteps):
    """Ranks targets among the candidates of a pipeline: one that no retriever found is a miss.

    ``metrics``, ``sampled``: see :class:`SequenceSteps`.
    """

    def __init__(self, **of_sequences: Any) -> None:
        super().__init__(**of_sequences, block_tokens=None)  # members have their own
        self.origins = Origins()
        self.found: dict[str, Tensor] = {}  # of each stage, as of Origins

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Rank the batch's targets, and note who found them."""
        model: Any = task.model
        metrics = self.metrics[stage]
        targets = Pairs(torch.arange(len(queries), device=queries.device), batch.target)
        seen = Pairs(batch.seen_row, batch.seen_item)
        queries = among(model, queries, targets, seen)
        retriever = ModelRetriever(model, floor=LOWEST)
        found = retriever.top(queries, max(metrics.cutoffs), targets, seen)
        metrics.update(batch.example, found.rank, found.candidates, found.items)
        items, _, origins = model.listed(queries)
        hit = (items == batch.target[:, None]) & (items >= 0)
        origin = (origins * hit).sum(dim=1)
        self.origins.update(batch.example, origin, (items >= 0).sum(dim=1))
        if batch.candidates is not None:
            sample = rank_sample(model, queries, batch.target, batch.candidates, seen)
            self.sampled[stage].update(batch.example, *sample)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Ranking metrics; who found the targets is kept, int64 [3, n]."""
        none = torch.zeros(0, dtype=torch.int64, device=task.device)
        self.origins.update(none, none, none)
        self.found[stage] = self.origins.compute().cpu()
        self.origins.reset()
        return super().figures(task, stage)


class Collecting(PipelineSteps):
    """Collects what a ranker learns from: candidates of the test, where the target is among them.

    Args:
        negatives: other candidates of a query that are kept, drawn at random; None keeps all.
        seed: of the draw.
    """

    def __init__(self, negatives: int | None, seed: int, **of_sequences: Any) -> None:
        super().__init__(**of_sequences)
        self.negatives, self.seed = negatives, seed
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []  # example, label, features

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Keep the batch's candidates; nothing is ranked."""
        model: Any = task.model
        assert isinstance(model, Pipeline)
        none = Pairs.none(queries.device)
        seen = Pairs(batch.seen_row, batch.seen_item)
        found = model.candidates(queries, *seen)
        label = found.item == batch.target[found.row]
        origin = torch.zeros_like(batch.target)
        origin[found.row[label]] = found.origin[label]
        number = torch.bincount(found.row, minlength=len(queries))
        self.origins.update(batch.example, origin, number)
        keep = drawn(found, label, batch.example, self.negatives, self.seed)
        keep &= (origin > 0)[found.row]
        example = batch.example[found.row[keep]]
        self.kept.append((example, label[keep], found.features[keep]))
        empty = none.item.reshape(0, max(self.metrics[stage].cutoffs))
        self.metrics[stage].update(none.item, none.item, none.item, empty)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """None: what was collected is in ``kept`` and ``found``."""
        self.found[stage] = self.origins.compute().cpu()
        self.origins.reset()
        self.metrics[stage].reset()
        return {}


def drawn(
    found: Candidates, label: Tensor, example: Tensor, negatives: int | None, seed: int
) -> Tensor:
    """Which candidates a ranker learns from, bool [P]: all that are right, and so many others of
    each query, by a draw of its own; None takes all.

    Args:
        found: candidates.
        label: which of them are right, bool [P].
        example: the number of each query, int64 [M].
        negatives: how many others.
        seed: of the draw.
    """
    if negatives is None:
        return torch.ones_like(label)
    row, item, right = found.row.cpu().numpy(), found.item.cpu().numpy(), label.cpu().numpy()
    chance = bits(bits(seed, example.cpu().numpy())[row], item)
    order = np.lexsort((chance, ~right, row))
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - np.searchsorted(row, row)
    number = np.bincount(row, right, len(example))
    return torch.from_numpy(place < number[row] + negatives).to(label.device)
