"""Steps of clicks: the loss of labels, predicted probabilities, thresholds, temperature."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.data.clicks.schema import Rows
from lightning_rec.language.encoder import LanguageModel
from lightning_rec.losses.base import Labelled
from lightning_rec.metrics.classification import best_threshold
from lightning_rec.metrics.clicks import ClickMetrics, Predictions
from lightning_rec.metrics.order import in_order
from lightning_rec.models.clicks.calibrated import Calibrated, after, fitted_temperature
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.layers import module_dict
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.steps import Stage, Steps

BLOCK_ROWS = 2048  # predicted at once on a CPU, where nothing but ids and numbers is read


class ClickSteps(Steps):
    """Learns from the labels of rows, predicts their probability.

    Where there are several goals, the loss is the sum of theirs, and each has all figures, as
    ``val/GOAL/auc``; a model of one goal has them as ``val/auc``. Where a goal comes only after the
    one before it, its probability given that one is measured as well, over the rows that have it:
    ``val/buy_after_click/auc``.

    Args:
        model: gives each row a logit, for each goal if there are several.
        metrics: for ``val`` and ``test``, by goal.
        embedding_l2: half of this times the sum of squares of all embedding tables, rows that the
            batch does not read included, joins the mean loss of each step, as in BARS.
        l2: likewise for all other weights.
        sparse: give embedding tables sparse gradients, for very large ones: with
            ``optimizer=lazy_adamw`` a step moves only the rows that the batch reads.
        goal_weights: factor of the loss of a goal, where it is not 1.
    """

    def __init__(
        self,
        model: nn.Module,
        metrics: Mapping[str, Mapping[str, ClickMetrics]],
        embedding_l2: float = 0.0,
        l2: float = 0.0,
        sparse: bool = False,
        goal_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        for module in own_modules(model):
            if isinstance(module, nn.Embedding):
                module.sparse = sparse
        self.goals, self.sequential = tuple(metrics["val"]), getattr(model, "sequential", False)
        weights = dict(goal_weights or {})
        if unknown := [name for name in weights if name not in self.goals]:
            raise ValueError(f"goal_weights: there is no goal {unknown[0]}, but {self.goals}")
        self.goal_weights = [weights.get(goal, 1.0) for goal in self.goals]
        self.metrics = module_dict(
            {f"{stage} {goal}": each for stage, of in metrics.items() for goal, each in of.items()}
        )
        self.embedding_l2, self.l2 = embedding_l2, l2
        # Of each goal, until validation chooses a better one.
        names = [*self.goals, *after_names(self.goals)]
        self.measured_by = dict(zip(names, [*self.goals, *self.goals[1:]], strict=True))
        self.threshold = dict.fromkeys(self.measured_by, 0.5)
        self.predictions: dict[str, dict[str, Predictions]] = {}  # by stage and goal

    def loss_of(self, task: Task, batch: ClickBatch) -> Tensor:
        """Mean loss over the rows, by weight if they have any, and penalties, the model's too."""
        assert task.loss is not None
        logits, labels = self._by_goal(task.model(batch.rows)), self._by_goal(batch.label)
        loss = self.penalty(task.model) + own_penalty(task.model)
        for factor, logit, label in zip(self.goal_weights, logits, labels, strict=True):
            loss = loss + factor * task.loss(task.model, Labelled(logit, label), batch.weight)
        return torch.as_tensor(loss)

    def penalty(self, model: nn.Module) -> Tensor | float:
        """What the size of the weights costs, scalar."""
        embeddings, others = split_parameters(model)
        cost: Tensor | float = 0.0
        for factor, parameters in ((self.embedding_l2, embeddings), (self.l2, others)):
            if factor:
                for parameter in parameters:
                    cost = cost + factor / 2 * parameter.square().sum()
        return cost

    def evaluate(self, task: Task, batch: ClickBatch, stage: Stage) -> None:
        """Predict the batch."""
        # A process that got no rows has to bring something to the exchange.
        logits = _logits(task.model, batch.rows) if len(batch.example) else batch.label
        for goal, logit in zip(self.goals, self._by_goal(logits), strict=True):
            self.metrics[f"{stage} {goal}"].update(batch.example, logit)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Metrics of each goal; validation chooses the thresholds of F1 and accuracy first."""
        found = {}
        for goal in self.goals:
            metrics = self.metrics[f"{stage} {goal}"]
            found[goal] = metrics.predictions()
            metrics.reset()
        self.predictions[stage] = found
        measured: dict[str, Tensor] = {}
        for goal, of in (found | self._after(found)).items():
            if stage == "val":
                self.threshold[goal] = float(best_threshold(of.probability, of.order))
            metrics = self.metrics[f"{stage} {self.measured_by[goal]}"]
            figures = metrics.figures(of, self.threshold[goal])
            prefix = f"{goal}/" if len(self.goals) > 1 else ""
            measured |= {f"{prefix}{name}": figure for name, figure in figures.items()}
        return measured

    @torch.no_grad()
    def calibrate(self, task: Task) -> dict[str, Any]:
        """Fit the temperature of each goal to what was last validated; nothing if there is none."""
        if not isinstance(task.model, Calibrated):
            return {}
        for index, of in enumerate(self.predictions["val"].values()):
            task.model.temperature[index] *= fitted_temperature(of.logit, of.label)
        fitted = zip(self.goals, task.model.temperature.tolist(), strict=True)
        return {"temperature": dict(fitted)}

    def _after(self, found: dict[str, Predictions]) -> dict[str, Predictions]:
        """Each goal given the one before it, on the rows that have that, if goals are in order."""
        if not self.sequential:
            return {}
        given, pairs = {}, pairwise(found.values())
        for name, (first, second) in zip(after_names(self.goals), pairs, strict=True):
            kept = first.label > 0.5
            if not kept.any():
                continue
            logit, label = after(first.logit[kept], second.logit[kept]), second.label[kept]
            probability, logit = torch.sigmoid(logit), logit.float()
            given[name] = Predictions(
                first.example[kept], logit, probability, label, in_order(logit, label)
            )
        return given

    def _by_goal(self, values: Tensor) -> tuple[Tensor, ...]:
        """What a model or a batch has for each row, float [B] or [B, G]: G times float [B]."""
        return values.reshape(-1, len(self.goals)).unbind(dim=1)


def _logits(model: nn.Module, rows: Rows) -> Tensor:
    """The logits of rows; a CPU computes some at a time, which its cache holds."""
    further = (rows.history, rows.encoded, rows.item, rows.items)
    if rows.ids.device.type != "cpu" or any(each is not None for each in further):
        return torch.as_tensor(model(rows))
    blocks = zip(rows.ids.split(BLOCK_ROWS), rows.values.split(BLOCK_ROWS), strict=True)
    return torch.cat([model(Rows(*block)) for block in blocks])


def after_names(goals: Sequence[str]) -> list[str]:
    """What each goal given the one before it is called."""
    return [f"{second}_after_{first}" for first, second in pairwise(goals)]


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules within a model, but for those of a language model in it."""
    if isinstance(model, LanguageModel):
        return []
    return [model, *(each for child in model.children() for each in own_modules(child))]


def own_penalty(model: nn.Module) -> Tensor | float:
    """What a model, and those that it wraps, add to the loss of the latest ``forward``: scalar."""
    return sum(each.penalty() for each in own_modules(model) if isinstance(each, ClickModel))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of embedding tables, and all others, as far as they are trained.

    Those of a language model are neither: they were trained before, and are drawn to no zero.
    """
    modules = own_modules(model)
    embeddings = [module for module in modules if isinstance(module, nn.Embedding)]
    tables = {id(table) for module in embeddings for table in module.parameters()}
    own = {id(each): each for part in modules for each in part.parameters(recurse=False)}
    trained = {key: parameter for key, parameter in own.items() if parameter.requires_grad}
    return (
        [parameter for key, parameter in trained.items() if key in tables],
        [parameter for key, parameter in trained.items() if key not in tables],
    )
