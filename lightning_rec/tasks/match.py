"""Steps of text matching: the loss of judged pairs, ranks of items, thresholds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_rec.data.matching.batches import PairBatch, QueryBatch
from lightning_rec.language.augment.texts import Learnt
from lightning_rec.losses.matching import MatchLoss, PairInputs
from lightning_rec.metrics.classification import best_threshold
from lightning_rec.metrics.matching import MatchMetrics, Scored, line
from lightning_rec.metrics.order import in_order
from lightning_rec.models.layers import module_dict
from lightning_rec.retrieval.exact import Pairs
from lightning_rec.retrieval.texts import ExactRetriever, Reranker, TextRetriever
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.mining import HardNegatives, RandomNegatives
from lightning_rec.tasks.steps import Stage, Steps


class MatchSteps(Steps):
    """Learns from judged pairs; ranks judged items, and the whole catalogue exactly.

    Two things are chosen on validation: the threshold from which on a pair is called relevant (best
    F1), and, for scores that say nothing of relevance themselves, the line that turns them into it.

    Args:
        retriever: finds items for queries in the whole catalogue.
        metrics: for ``val`` and ``test``.
        scale: the lowest and the highest relevance.
        negatives: draws hard negatives; None leaves the items of the batch alone.
        ranked: stages in which the whole catalogue is ranked, not the judged items alone.
    """

    def __init__(
        self,
        retriever: TextRetriever,
        metrics: Mapping[str, MatchMetrics],
        scale: tuple[float, float],
        negatives: HardNegatives | RandomNegatives | None = None,
        ranked: tuple[Stage, ...] = ("test",),
    ) -> None:
        super().__init__()
        self.retriever, self.negatives = retriever, negatives
        self.scale, self.ranked = scale, ranked
        self.metrics = module_dict(metrics)
        self.threshold: float | None = None  # until validation chooses one
        self.line: tuple[float, float] | None = None
        self.found: dict[str, Scored] = {}  # by stage
        self.learnt: Learnt | None = None  # the texts of training, where they are changed for it

    def before_training_batch(self, task: Task, batch_idx: int) -> None:
        """Look for hard negatives at the start of an epoch, before it is reseeded."""
        if self.negatives is not None and (batch_idx == 0 or self.negatives.best is None):
            self.negatives.refresh(self.retriever, task.device)

    def progress(self) -> dict[str, Any]:
        """The hard negatives, if the model that learns has found them."""
        if self.negatives is None or self.negatives.by:
            return {"negatives": None}
        return {"negatives": self.negatives.best}

    def load_progress(self, found: dict[str, Any]) -> None:
        """Go on with the same hard negatives."""
        if self.negatives is not None:
            self.negatives.best = found["negatives"]

    def loss_of(self, task: Task, batch: PairBatch) -> Tensor:
        """Mean loss over the pairs of a batch."""
        assert task.loss is not None
        items, device = batch.item, batch.item.device
        if self.negatives is not None:
            items = torch.cat([items, self.negatives.draw(batch.query).flatten()])
        assert isinstance(self.retriever, ExactRetriever | Reranker)
        texts = self.learnt or self.retriever.texts
        queries = texts.queries.take(batch.query.cpu().numpy()).to(device)
        read = texts.items.take(items.clamp(min=0).cpu().numpy()).to(device)
        inputs = PairInputs(batch.query, items, queries, read, batch.gain)
        return task.loss(task.model, inputs)

    def before_stage(self, task: Task, stage: Stage) -> None:
        """Index the catalogue anew if weights have moved."""
        if stage in self.ranked:
            self.retriever.renew()

    def evaluate(self, task: Task, batch: QueryBatch, stage: Stage) -> None:
        """Score the batch's judged pairs."""
        if not len(batch.query):
            return
        if stage in self.ranked:
            found = self.retriever.top(batch.query, 1, Pairs(batch.row, batch.item))
            score, rank = found.score, found.rank
        else:
            score = self.retriever.pairs(batch.query[batch.row], batch.item)
            rank = torch.zeros_like(batch.pair)
        self.metrics[stage].update(batch.pair, score, rank)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Metrics of judged pairs and ranks; validation chooses threshold and line first."""
        metrics = self.metrics[stage]
        none = torch.zeros(0, dtype=torch.int64, device=task.device)
        # A process that got no batch has to bring something to the exchange.
        metrics.update(none, none.float(), none)
        found = Scored(*(part.reshape(-1) for part in metrics.compute()))  # one alone is no scalar
        metrics.reset()
        self.found[stage] = found
        if stage == "val":
            positive = metrics.positive[found.pair]
            order = in_order(found.score, positive)
            self.threshold = float(best_threshold(found.score, order)) if positive.any() else None
            self.line = line(found.score, metrics.relevance[found.pair])
        return metrics.figures(found, self.threshold, self.relevance(task.loss, found.score))

    def relevance(self, loss: nn.Module | None, scores: Tensor) -> Tensor | None:
        """What scores say of relevance, within the scale; None if that cannot be told."""
        low, high = self.scale
        share = loss.relevance(scores.double()) if isinstance(loss, MatchLoss) else None
        if share is not None:
            return low + (high - low) * share
        if self.line is None:
            return None
        intercept, slope = self.line
        return (intercept + slope * scores.double()).clamp(low, high)
