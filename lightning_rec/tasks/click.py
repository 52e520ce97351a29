"""The LightningModule of clicks: the likelihood of what came, and how well it was foretold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.language.encoder import LanguageModel
from lightning_rec.metrics.classification import best_threshold
from lightning_rec.metrics.clicks import ClickMetrics, Predictions
from lightning_rec.metrics.order import in_order
from lightning_rec.models.clicks.calibrated import Calibrated, after, fitted_temperature
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.tasks.base import Arithmetic, Task


class ClickTask(Task):
    """Trains any model of clicks by the likelihood of the labels.

    Where there are several goals, the loss is the sum of theirs, and each has all figures, as
    ``val/GOAL/auc``; a model of one goal has them as ``val/auc``. Where a goal comes only after the
    one before it, its probability given that one is measured as well, over the rows that have it:
    ``val/buy_after_click/auc``.

    Args:
        model: gives each row a logit, for each goal if there are several.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        metrics: for ``val`` and ``test``, by goal.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        embedding_l2: half of this times the sum of squares of all embedding tables, rows that the
            batch does not read included, joins the mean loss of each step, as in BARS.
        l2: likewise for all other weights.
        sparse: give embedding tables sparse gradients, for very large ones: with
            ``optimizer=lazy_adamw`` a step moves only the rows that the batch reads.
        goal_weights: what the loss of a goal counts for, where it is not 1.
        tuned_lr: learning rate of a part that was trained before; None takes the optimizer's.
        calibrate: ``temperature`` puts a number for each goal under the logits, which
            :meth:`calibrate` fits on validation and which is saved with the weights.
        arithmetic: see :data:`lightning_rec.tasks.base.Arithmetic`.
    """

    model: ClickModel

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        metrics: Mapping[str, Mapping[str, ClickMetrics]],
        seed: int,
        embedding_l2: NonNegativeFloat = 0.0,
        l2: NonNegativeFloat = 0.0,
        sparse: bool = False,
        goal_weights: Mapping[str, NonNegativeFloat] | None = None,
        tuned_lr: PositiveFloat | None = None,
        calibrate: Literal["none", "temperature"] = "none",
        arithmetic: Arithmetic = "fast",
    ) -> None:
        if calibrate == "temperature":
            assert isinstance(model, ClickModel)
            model = Calibrated(model, len(metrics["val"]))
        trains = any(parameter.requires_grad for parameter in model.parameters())
        super().__init__(model, trains, optimizer, schedule, seed, tuned_lr, arithmetic)
        for module in own_modules(model):
            if isinstance(module, nn.Embedding):
                module.sparse = sparse
        self.goals = tuple(metrics["val"])
        weights = dict(goal_weights or {})
        if unknown := [name for name in weights if name not in self.goals]:
            raise ValueError(f"goal_weights: there is no goal {unknown[0]}, but {self.goals}")
        self.goal_weights = [weights.get(goal, 1.0) for goal in self.goals]
        self.metrics = nn.ModuleDict(
            {f"{stage} {goal}": each for stage, of in metrics.items() for goal, each in of.items()}
        )
        self.embedding_l2, self.l2 = embedding_l2, l2
        # Of each goal, until validation chooses a better one.
        names = after_names(self.goals)
        self.measured_by = dict(
            zip([*self.goals, *names], [*self.goals, *self.goals[1:]], strict=True)
        )
        self.threshold = dict.fromkeys(self.measured_by, 0.5)
        self.predictions: dict[str, dict[str, Predictions]] = {}

    @property
    def title(self) -> str:
        """What the model is called in tables: by its head, whatever stands around that."""
        return self.model.title

    def loss_of(self, batch: ClickBatch) -> Tensor:
        """Mean negative log-likelihood of the labels, by weight if they have any, and penalties."""
        logits, labels = self._by_goal(self.model(batch.rows)), self._by_goal(batch.label)
        loss = self.penalty()
        for factor, logit, label in zip(self.goal_weights, logits, labels, strict=True):
            loss = loss + factor * _likelihood(logit, label, batch.weight)
        return torch.as_tensor(loss)

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
        for goal, of in (found | self._after(found)).items():
            self.threshold[goal] = float(best_threshold(of.probability, of.order))
        self._measure("val", found)

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test, and keep the predictions for the record."""
        self._measure("test", self._found("test"))

    @torch.no_grad()
    def calibrate(self) -> dict[str, float]:
        """Fit the temperature of each goal to what was last validated; nothing if there is none."""
        if not isinstance(self.model, Calibrated):
            return {}
        for place, of in enumerate(self.predictions["val"].values()):
            self.model.temperature[place] *= fitted_temperature(of.logit, of.label)
        return dict(zip(self.goals, self.model.temperature.tolist(), strict=True))

    def _after(self, found: dict[str, Predictions]) -> dict[str, Predictions]:
        """Each goal given the one before it, on the rows that have that, if goals are in order."""
        if not self.model.sequential:
            return {}
        given = {}
        for name, (first, second) in zip(
            after_names(self.goals), pairwise(found.values()), strict=True
        ):
            kept = first.label > 0.5
            if not kept.any():
                continue
            logit, label = after(first.logit[kept], second.logit[kept]), second.label[kept]
            probability, logit = torch.sigmoid(logit), logit.float()
            given[name] = Predictions(
                first.example[kept], logit, probability, label, in_order(logit, label)
            )
        return given

    def _predict(self, batch: ClickBatch, stage: str) -> None:
        # A process that got no rows has to bring something to the exchange.
        logits = self.model(batch.rows) if len(batch.example) else batch.label
        for goal, logit in zip(self.goals, self._by_goal(logits), strict=True):
            self._metrics(stage, goal).update(batch.example, logit)

    def _by_goal(self, values: Tensor) -> tuple[Tensor, ...]:
        """What a model or a batch has for each row, float [B] or [B, G]: G times float [B]."""
        return values.reshape(-1, len(self.goals)).unbind(dim=1)

    def _found(self, stage: str) -> dict[str, Predictions]:
        found = {}
        for goal in self.goals:
            metrics = self._metrics(stage, goal)
            found[goal] = metrics.predictions()
            metrics.reset()
        return found

    def _measure(self, stage: str, found: dict[str, Predictions]) -> None:
        self.predictions[stage] = found
        figures: dict[str, Tensor] = {}
        for goal, of in (found | self._after(found)).items():
            metrics = self._metrics(stage, self.measured_by[goal])
            measured = metrics.figures(of, self.threshold[goal])
            prefix = f"{goal}/" if len(self.goals) > 1 else ""
            figures |= {f"{prefix}{name}": figure for name, figure in measured.items()}
        self._record(stage, figures)

    def _metrics(self, stage: str, goal: str) -> ClickMetrics:
        metrics = self.metrics[f"{stage} {goal}"]
        assert isinstance(metrics, ClickMetrics)
        return metrics


def after_names(goals: Sequence[str]) -> list[str]:
    """What each goal given the one before it is called."""
    return [f"{second}_after_{first}" for first, second in pairwise(goals)]


def _likelihood(logit: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Mean negative log-likelihood, by weight if there are any."""
    if weight is None:
        return functional.binary_cross_entropy_with_logits(logit, label)
    each = functional.binary_cross_entropy_with_logits(logit, label, weight, reduction="sum")
    return each / weight.sum().clamp(min=torch.finfo(each.dtype).tiny)


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules within a model, but for those of a language model in it."""
    if isinstance(model, LanguageModel):
        return []
    return [model, *(each for child in model.children() for each in own_modules(child))]


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of embedding tables, and all others, as far as they are trained.

    Those of a language model are neither: they were trained before, and are drawn to no zero.
    """
    modules = own_modules(model)
    embeddings = [module for module in modules if isinstance(module, nn.Embedding)]
    tables = {id(table) for module in embeddings for table in module.parameters()}
    own = {id(each): each for part in modules for each in part.parameters(recurse=False)}
    trained = [parameter for parameter in own.values() if parameter.requires_grad]
    return (
        [parameter for parameter in trained if id(parameter) in tables],
        [parameter for parameter in trained if id(parameter) not in tables],
    )
