"""The LightningModule of matching: which items belong to a query, and how well judged ones do."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.data.matching.batches import PairBatch, QueryBatch
from lightning_rec.losses.matching import MatchLoss, PairInputs
from lightning_rec.metrics.classification import best_threshold
from lightning_rec.metrics.matching import MatchMetrics, Scored, line
from lightning_rec.metrics.order import in_order
from lightning_rec.models.text.matcher import TextScorer
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.mining import HardNegatives
from lightning_rec.tasks.retrieval import Retriever

Stage = Literal["val", "test"]


class MatchTask(Task):
    """Trains any model of matching; ranks judged items, and the whole catalogue exactly.

    Two things are chosen on validation: the threshold from which on a pair is called relevant (best
    F1), and, for scores that say nothing of relevance themselves, the line that turns them into it.

    Args:
        model: scores pairs of a query and an item.
        loss: of the model and some pairs; None if not trained.
        retriever: finds items for queries in the whole catalogue.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        metrics: for ``val`` and ``test``.
        scale: the lowest and the highest relevance.
        negatives: draws hard negatives; None leaves the items of the batch alone.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        ranked: stages in which the whole catalogue is ranked, not the judged items alone.
        tuned_lr: learning rate of the language model; None takes the optimizer's.
        arithmetic: see :data:`lightning_rec.tasks.base.Arithmetic`.
    """

    model: TextScorer

    def __init__(
        self,
        model: nn.Module,
        loss: MatchLoss | None,
        retriever: Retriever,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        metrics: Mapping[str, MatchMetrics],
        scale: tuple[float, float],
        negatives: HardNegatives | None,
        seed: int,
        ranked: tuple[Stage, ...] = ("test",),
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        moves = any(parameter.requires_grad for parameter in model.parameters())
        trains = loss is not None and moves
        super().__init__(model, trains, optimizer, schedule, seed, tuned_lr, arithmetic)
        self.loss, self.retriever, self.negatives = loss, retriever, negatives
        self.scale, self.ranked = scale, ranked
        self.metrics = nn.ModuleDict(metrics)
        self.threshold: float | None = None  # until validation chooses one
        self.line: tuple[float, float] | None = None
        self.found: dict[str, Scored] = {}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Look for hard negatives at the start of an epoch, before it is reseeded."""
        if self.negatives is not None and (batch_idx == 0 or self.negatives.best is None):
            self.negatives.refresh(self.retriever, self.device)
        super().on_train_batch_start(batch, batch_idx)

    def progress(self) -> dict[str, Any]:
        """The hard negatives too, if the model that learns has found them."""
        found = (
            self.negatives.best if self.negatives is not None and not self.negatives.by else None
        )
        return super().progress() | {"negatives": found}

    def load_progress(self, found: dict[str, Any]) -> None:
        """Go on with the same hard negatives."""
        super().load_progress(found)
        if self.negatives is not None:
            self.negatives.best = found["negatives"]

    def loss_of(self, batch: PairBatch) -> Tensor:
        """Mean loss over the pairs of a batch."""
        assert self.loss is not None
        items = batch.item
        if self.negatives is not None:
            items = torch.cat([items, self.negatives.draw(batch.query).flatten()])
        texts = self.retriever.texts
        queries = texts.queries.take(batch.query.cpu().numpy()).to(self.device)
        read = texts.items.take(items.clamp(min=0).cpu().numpy()).to(self.device)
        inputs = PairInputs(batch.query, items, queries, read, batch.gain)
        loss: Tensor = self.loss(self.model, inputs)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Look whether weights have moved, before the catalogue is ranked."""
        if "val" in self.ranked:
            self.retriever.renew()

    def on_test_epoch_start(self) -> None:
        """Look whether weights have moved, before the catalogue is ranked."""
        if "test" in self.ranked:
            self.retriever.renew()

    def validation_step(self, batch: QueryBatch, batch_idx: int) -> None:
        """Score the batch's judged pairs."""
        self._evaluate(batch, "val")

    def test_step(self, batch: QueryBatch, batch_idx: int) -> None:
        """Score the batch's judged pairs."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Choose threshold and line, and log the figures of validation."""
        found = self._collected("val")
        metrics = self._metrics("val")
        positive = metrics.positive[found.pair]
        order = in_order(found.score, positive)
        self.threshold = float(best_threshold(found.score, order)) if positive.any() else None
        self.line = line(found.score, metrics.relevance[found.pair])
        self._measure("val", found)

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test, and keep what was found for the record."""
        self._measure("test", self._collected("test"))

    def relevance(self, scores: Tensor) -> Tensor | None:
        """What scores say of relevance, within the scale; None if that cannot be told."""
        low, high = self.scale
        share = None if self.loss is None else self.loss.relevance(scores.double())
        if share is not None:
            return low + (high - low) * share
        if self.line is None:
            return None
        intercept, slope = self.line
        return (intercept + slope * scores.double()).clamp(low, high)

    def _evaluate(self, batch: QueryBatch, stage: Stage) -> None:
        if not len(batch.query):
            return
        if stage in self.ranked:
            found = self.retriever(batch.query, 1, (batch.row, batch.item))
            score, rank = found.score, found.rank
        else:
            score = self.model.pairs(self.retriever.texts, batch.query[batch.row], batch.item)
            rank = torch.zeros_like(batch.pair)
        self._metrics(stage).update(batch.pair, score, rank)

    def _collected(self, stage: Stage) -> Scored:
        metrics = self._metrics(stage)
        none = torch.zeros(0, dtype=torch.int64, device=self.device)
        # A process that got no batch has to bring something to the exchange.
        metrics.update(none, none.float(), none)
        found = Scored(*(part.reshape(-1) for part in metrics.compute()))  # one alone is no scalar
        metrics.reset()
        return found

    def _measure(self, stage: Stage, found: Scored) -> None:
        self.found[stage] = found
        predicted = self.relevance(found.score)
        self._record(stage, self._metrics(stage).figures(found, self.threshold, predicted))

    def _metrics(self, stage: Stage) -> MatchMetrics:
        metrics = self.metrics[stage]
        assert isinstance(metrics, MatchMetrics)
        return metrics
