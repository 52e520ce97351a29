"""Steps of ensembles: how alike what their members recommend is, and weights by validation."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.data.batches import EvalBatch
from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.metrics.collected import joined
from lightning_rec.metrics.measure import Measure
from lightning_rec.metrics.overlap import Overlap
from lightning_rec.metrics.targets import SingleTargets
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.ensembles import SCORE_BYTES, ClickEnsemble, SequenceEnsemble
from lightning_rec.retrieval.exact import ModelRetriever, Pairs, among, rank_blocks
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.click import ClickSteps
from lightning_rec.tasks.sequence import SequenceSteps
from lightning_rec.tasks.steps import Stage

TRIALS = 300  # of weights of sequences, at most


class Monitored(NamedTuple):
    """The figure of validation that weights are to make best.

    name: its whole name.  measure: its metric, a mean over targets.  k: its cut-off, 0 for none.
    better: ``max`` or ``min``.
    """

    name: str
    measure: Measure
    k: int
    better: str


class SequenceEnsembleSteps(SequenceSteps):
    """Steps of an ensemble of sequences, which look at the lists of its members in the test.

    Args:
        members: how many there are.
        metrics, sampled: see :class:`SequenceSteps`.
    """

    def __init__(self, members: int, **of_sequences: Any) -> None:
        super().__init__(**of_sequences, block_tokens=None)  # members have their own
        self.overlap = Overlap(members, max(self.metrics["test"].cutoffs))
        self.alike = torch.zeros(members, members)  # until a test

    def before_stage(self, task: Task, stage: Stage) -> None:
        """Forget the lists of an earlier test."""
        if stage == "test":
            self.overlap.reset()

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Rank the batch's targets; in the test, compare what each member recommends."""
        super().rank(task, queries, batch, stage)
        if stage != "test":
            return
        ensemble = task.model
        assert isinstance(ensemble, SequenceEnsemble)
        asked = Pairs(torch.arange(len(queries), device=queries.device), batch.target)
        seen = Pairs(batch.seen_row, batch.seen_item)
        own = queries.split(ensemble.widths, dim=1)
        tops = [
            ModelRetriever(member.model).top(query, self.overlap.k, asked, seen).items
            for member, query in zip(ensemble.members, own, strict=True)
        ]
        self.overlap.update(torch.stack(tops))

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Ranking metrics; how alike lists are is kept, float64 [m, m]."""
        if stage == "test":
            self.alike = self.overlap.compute().reshape(self.alike.shape)  # one alone is no scalar
        return super().figures(task, stage)


class SequenceFitting(SequenceEnsembleSteps):
    """Weights of an ensemble of sequences whose validation has the best monitored figure.

    All weights of a grid are tried in one pass: equal ones, each member alone, and what lies
    between, in as fine steps as :data:`TRIALS` allow. Of equal figures the most even weights win.
    """

    def __init__(self, members: int, monitored: Monitored, **of_sequences: Any) -> None:
        super().__init__(members, **of_sequences)
        self.monitored, self.trials = monitored, grid(members)
        self.total = Sums(len(self.trials))
        self.fitted: dict[str, Any] = {}

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Measure the batch by each of the weights."""
        model = task.model
        assert isinstance(model, SequenceEnsemble)
        asked = Pairs(torch.arange(len(queries), device=queries.device), batch.target)
        seen = Pairs(batch.seen_row, batch.seen_item)
        queries = among(model, queries, asked, seen)
        held = bytes_at_once(queries.device, SCORE_BYTES)
        step = max(1, held // (4 * model.schema.num_items * len(self.trials[0])))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            _, targets = asked.of_rows(start, step)
            _, left_out = seen.of_rows(start, step)
            self._measure(model, queries[some], targets, left_out)

    def _measure(
        self, model: SequenceEnsemble, queries: Tensor, targets: Pairs, left_out: Pairs
    ) -> None:
        raw = model.raw(queries)
        terms = model.terms(raw, queries)
        for place, weights in enumerate(self.trials):
            alone = weights.nonzero()[:, 0].tolist()
            one = raw[alone[0]].clone() if len(alone) == 1 else None

            def score(start: int, stop: int, one: Tensor | None = one, by: Tensor = weights) -> Any:
                return model.fused(terms, by) if one is None else one

            found = rank_blocks(score, len(queries), raw.shape[2], 1, targets, left_out)
            example = torch.arange(len(found.rank), device=queries.device)
            evidence = SingleTargets(example, found.rank, candidates=found.candidates)
            (values,) = self.monitored.measure.values(evidence, (self.monitored.k,)).values()
            self.total.update(place, values)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Give the model the best weights; their figure."""
        model: Any = task.model
        means = self.total.compute()
        self.total.reset()
        sign = 1 if self.monitored.better == "max" else -1
        best = max(range(len(means)), key=lambda place: sign * float(means[place]))
        model.weights.copy_(self.trials[best])
        self.fitted = {self.monitored.name: float(means[best])}
        return {self.monitored.name.removeprefix("val/"): means[best]}

    def calibrate(self, task: Task) -> dict[str, Any]:
        """What was fitted, for the card."""
        model: Any = task.model
        return {"weights": model.weights.tolist(), "fitted": self.fitted}


class ClickFitting(ClickSteps):
    """Weights of an ensemble of clicks whose validation has the lowest logloss.

    The logloss of either mean is convex in the weights: they are found by sequential least squares
    (SLSQP, Kraft 1988). Each member alone and equal weights are tried as well.
    """

    def __init__(self, model: ClickEnsemble, metrics: Any) -> None:
        super().__init__(model, metrics)
        self.read = Read()
        self.fitted: dict[str, Any] = {}

    def evaluate(self, task: Task, batch: ClickBatch, stage: Stage) -> None:
        """Collect what each member says of the batch."""
        model: Any = task.model
        number = len(model.weights)
        logits = batch.label.new_zeros(number, *batch.label.shape)
        if len(batch.example):
            logits = model.each(batch.rows)
        columns = logits.reshape(number, -1).T  # a line for each row and goal
        self.read.update(columns, batch.label.reshape(-1))

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Give the model the best weights; their figure."""
        model: Any = task.model
        logits, labels = self.read.compute()
        self.read.reset()
        weights, loss = best_pool(logits.cpu().double(), labels.cpu().double(), model.by)
        model.weights.copy_(weights)
        self.fitted = {"val/logloss": loss}
        return {"logloss": torch.tensor(loss, dtype=torch.float64)}

    def calibrate(self, task: Task) -> dict[str, Any]:
        """What was fitted, for the card."""
        model: Any = task.model
        return {"weights": model.weights.tolist(), "fitted": self.fitted}


class Sums(Metric):
    """Sums of values, and their numbers, of each of some trials; not a number is left out."""

    full_state_update = False
    total: Tensor
    number: Tensor

    def __init__(self, trials: int) -> None:
        super().__init__()
        for name in ("total", "number"):
            zeros = torch.zeros(trials, dtype=torch.float64)
            self.add_state(name, default=zeros, dist_reduce_fx="sum")

    def update(self, place: int, values: Tensor) -> None:
        """Add values of one trial, float64 [n]."""
        self.total[place] += values.nansum()
        self.number[place] += (~values.isnan()).sum()

    def compute(self) -> Tensor:
        """The mean of each trial, float64 [trials]."""
        return self.total / self.number


class Read(Metric):
    """Logits of members, float [n, m], and labels, float [n], of all rows."""

    full_state_update = False
    logit: list[Tensor]
    label: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("logit", "label"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logit: Tensor, label: Tensor) -> None:
        """Add a batch."""
        self.logit.append(logit)
        self.label.append(label)

    def compute(self) -> tuple[Tensor, Tensor]:
        """All of them, complete on every process."""
        return joined(self.logit), joined(self.label)


def grid(members: int) -> Tensor:
    """Weights to be tried, float64 [P, m], the most even ones first."""
    parts = 1
    while parts < 20 and _size(members, parts + 1) <= TRIALS:
        parts += 1
    found: list[Sequence[float]] = [[1 / members] * members]
    for chosen in combinations_with_replacement(range(members), parts):
        found.append([chosen.count(member) / parts for member in range(members)])
    weights = torch.tensor(found, dtype=torch.float64)
    order = (weights - 1 / members).square().sum(dim=1).argsort(stable=True)
    return weights[order]


def _size(members: int, parts: int) -> int:
    size = 1
    for each in range(1, members):
        size = size * (parts + each) // each
    return size


def best_pool(logits: Tensor, labels: Tensor, by: str) -> tuple[Tensor, float]:
    """The weights with the lowest logloss, float64 [m], and it.

    ``logits``: float64 [n, m]. ``labels``: [n], 0 or 1. ``by``: see :class:`ClickEnsemble`.
    """
    z, y = logits.numpy(), labels.numpy()
    click, none = (torch.sigmoid(sign * logits).numpy() for sign in (1, -1))
    tiny = np.finfo(float).tiny

    def loss(weights: Any) -> tuple[float, Any]:
        if by == "scores":
            mean = z @ weights
            right = np.logaddexp(0, mean) - y * mean
            return right.mean(), (1 / (1 + np.exp(-mean)) - y) @ z / len(y)
        one, other = (np.maximum(each @ weights, tiny) for each in (click, none))
        slope = (y / one) @ click + ((1 - y) / other) @ none
        return -(y * np.log(one) + (1 - y) * np.log(other)).mean(), -slope / len(y)

    number = logits.shape[1]
    even = np.full(number, 1 / number)
    sums = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    bounds = [(0, 1)] * number
    made = minimize(loss, even, jac=True, bounds=bounds, constraints=sums, options={"ftol": 1e-12})
    own = np.clip(made.x, 0, 1)
    tried = [even, *np.eye(number), own / own.sum()]
    best = min(tried, key=lambda weights: loss(weights)[0])
    return torch.from_numpy(best), float(loss(best)[0])
