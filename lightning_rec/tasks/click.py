"""The LightningModule of clicks: the likelihood of what came, and how well it was foretold."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.metrics.classification import best_threshold
from lightning_rec.metrics.clicks import ClickMetrics, Predictions
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.tasks.base import Task


class ClickTask(Task):
    """Trains any model of clicks by the likelihood of the labels.

    Args:
        model: gives each row a logit.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        metrics: for ``val`` and ``test``.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        embedding_l2: half of this times the sum of squares of all embedding tables, rows that the
            batch does not read included, joins the mean loss of each step, as in BARS.
        l2: likewise for all other weights.
        sparse: give embedding tables sparse gradients, for very large ones: with
            ``optimizer=lazy_adamw`` a step then costs what the batch reads, whatever the table has.
        arithmetic: ``plain`` computes by torch's own functions alone; see
            :mod:`lightning_rec.models.kernels`.
    """

    model: ClickModel

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        metrics: Mapping[str, ClickMetrics],
        seed: int,
        embedding_l2: NonNegativeFloat = 0.0,
        l2: NonNegativeFloat = 0.0,
        sparse: bool = False,
        arithmetic: Literal["fast", "plain"] = "fast",
    ) -> None:
        trains = any(parameter.requires_grad for parameter in model.parameters())
        super().__init__(model, trains, optimizer, schedule, seed, arithmetic)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.sparse = sparse
        self.metrics = nn.ModuleDict(metrics)
        self.embedding_l2, self.l2 = embedding_l2, l2
        self.threshold = 0.5  # until validation chooses a better one
        self.predictions: dict[str, Predictions] = {}

    def loss_of(self, batch: ClickBatch) -> Tensor:
        """Mean negative log-likelihood of the labels, by weight if they have any, and penalties."""
        logits = self.model(batch.rows)
        if batch.weight is None:
            loss = functional.binary_cross_entropy_with_logits(logits, batch.label)
        else:
            each = functional.binary_cross_entropy_with_logits(
                logits, batch.label, batch.weight, reduction="sum"
            )
            loss = each / batch.weight.sum().clamp(min=torch.finfo(each.dtype).tiny)
        return loss + self.penalty()

    def penalty(self) -> Tensor | float:
        """What the size of the weights costs, scalar."""
        embeddings, others = split_parameters(self.model)
        cost: Tensor | float = 0.0
        for factor, parameters in ((self.embedding_l2, embeddings), (self.l2, others)):
            if factor:
                for parameter in parameters:
                    cost = cost + factor / 2 * parameter.square().sum()
        return cost

    def validation_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Predict the batch."""
        self._predict(batch, "val")

    def test_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Predict the batch."""
        self._predict(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold, and log the figures of validation."""
        found = self._found("val")
        self.threshold = float(best_threshold(found.probability, found.label))
        self._measure("val", found)

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test, and keep the predictions for the record."""
        self._measure("test", self._found("test"))

    def _predict(self, batch: ClickBatch, stage: str) -> None:
        # A process that got no rows has to bring something to the exchange.
        logits = self.model(batch.rows) if len(batch.example) else batch.label
        self._metrics(stage).update(batch.example, logits)

    def _found(self, stage: str) -> Predictions:
        metrics = self._metrics(stage)
        found: Predictions = metrics.compute()
        metrics.reset()
        return found

    def _measure(self, stage: str, found: Predictions) -> None:
        self.predictions[stage] = found
        self._record(stage, self._metrics(stage).figures(found, self.threshold))

    def _metrics(self, stage: str) -> ClickMetrics:
        metrics = self.metrics[stage]
        assert isinstance(metrics, ClickMetrics)
        return metrics


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of embedding tables, and all others, as far as they are trained."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables = {id(table) for module in embeddings for table in module.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        [parameter for parameter in trained if id(parameter) in tables],
        [parameter for parameter in trained if id(parameter) not in tables],
    )
