"""LR: logistic regression over categories and numbers, fitted to the optimum.

Richardson et al., Predicting Clicks: Estimating the Click-Through Rate for New Ads, WWW 2007; Liu
and Nocedal, On the Limited Memory BFGS Method, Mathematical Programming 45, 1989.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.types import Ints
from lightning_rec.models.clicks.lr_sgd import GradientLR
from lightning_rec.models.clicks.parts import FITTED

PATIENCE = 20  # iterations that bring validation nothing before the search ends
BLOCK = 1 << 18  # rows that are made into a matrix at once
CACHED = 1 << 27  # entries of matrices that are cached; beyond, they are made for each pass
Floats = NDArray[np.float64]


class LR(GradientLR):
    """z = b + sum of the weights of what a row has (equation 1).

    The weights are those with the least C x (sum of the negative log-likelihoods, by weight if rows
    have any) + ½ ‖w‖², without the bias, as in scikit-learn's ``LogisticRegression`` over one-hot
    fields. Of the values of ``C``, from small to large, that with the lowest logloss on validation
    is kept; where nothing validates it is the one that is nearest to 1.

    Args:
        C: how strongly the rows count beside the penalty; several are tried.
        max_iter: of L-BFGS, for each of them.
    """

    chosen: Tensor
    needs = FITTED

    def __init__(
        self,
        schema: ClickSchema,
        C: tuple[PositiveFloat, ...] = (0.1, 0.3, 1.0, 3.0, 10.0),
        max_iter: PositiveInt = 200,
    ) -> None:
        super().__init__(schema)
        if not C:
            raise ValueError("C=[] leaves nothing to fit: say C=[1.0]")
        self.C, self.max_iter = tuple(sorted(C)), max_iter
        self.register_buffer("chosen", torch.zeros(2))  # C, iteration
        self.requires_grad_(False)

    def fit(self, encoded: Encoded) -> None:
        """Fit to the training rows, and choose C and the iteration by those of validation."""
        train, val = Likelihood(encoded, encoded.train), Likelihood(encoded, encoded.val)
        if len(val.rows):
            best = min((sought(train, val, c, self.max_iter) for c in self.C), key=lambda x: x.loss)
        else:
            best = sought(train, None, min(self.C, key=lambda c: abs(np.log(c))), self.max_iter)
        self.linear.fields.table.weight[:, 0] = torch.from_numpy(best.weights[:-1])
        self.linear.bias.fill_(best.weights[-1])
        self.chosen.copy_(torch.tensor([best.C, best.iteration]))


class Likelihood:
    """The mean negative log-likelihood of the ``rows`` with these numbers, and its gradient."""

    def __init__(self, encoded: Encoded, rows: Ints) -> None:
        self.encoded, self.rows = encoded, np.asarray(rows)
        self.label = encoded.label[self.rows].astype(np.float64)
        weight = encoded.weight
        each = np.ones(len(rows)) if weight is None else weight[self.rows].astype(np.float64)
        self.weight = each / max(each.sum(), np.finfo(np.float64).tiny)
        schema = encoded.schema
        self.size = schema.num_rows + 1
        small = len(rows) * (schema.columns + len(schema.of("numeric"))) <= CACHED
        self.cached = list(self._blocks()) if small else None

    def _blocks(self) -> Iterable[tuple[slice, csr_matrix]]:
        """The rows as matrices over the rows of the table, with their positions."""
        for start in range(0, len(self.rows), BLOCK):
            part = slice(start, start + BLOCK)
            yield part, one_hot(self.encoded, self.rows[part])

    def __call__(self, weights: Floats) -> tuple[float, Floats]:
        """The likelihood of weights and a bias behind them: float64 [num_rows + 1]."""
        loss, slope = 0.0, np.zeros_like(weights)
        for part, matrix in self.cached or self._blocks():
            logit = matrix @ weights[:-1] + weights[-1]
            label, weight = self.label[part], self.weight[part]
            loss += float(weight @ (np.logaddexp(0, logit) - label * logit))
            off = weight * (0.5 * (1 + np.tanh(logit / 2)) - label)
            slope[:-1] += matrix.T @ off
            slope[-1] += off.sum()
        return loss, slope


class Found(NamedTuple):
    """Weights, and a bias behind them: float64 [num_rows + 1]; how they were found.

    loss: on validation, or else on the training rows.  C: of the penalty.  iteration: from 0.
    """

    weights: Floats
    loss: float
    C: float
    iteration: int


def sought(train: Likelihood, val: Likelihood | None, c: float, max_iter: int) -> Found:
    """The best weights by ``val`` on the way to those with the least loss and penalty.

    Without ``val`` those at the end of the way; ``c``: how strongly rows count beside the penalty.
    """
    penalty = np.full(train.size, 1 / (c * len(train.rows)))
    penalty[-1] = 0  # of the bias
    start = np.zeros(train.size)
    rate = np.clip(train.weight @ train.label, 1e-6, 1 - 1e-6)
    start[-1] = np.log(rate / (1 - rate))
    best = Found(start, val(start)[0] if val else np.inf, c, 0)
    iteration = 0

    def cost(weights: Floats) -> tuple[float, Floats]:
        loss, slope = train(weights)
        drawn = penalty * weights
        return loss + float(drawn @ weights) / 2, slope + drawn

    def look(weights: Floats) -> None:
        nonlocal best, iteration
        iteration += 1
        loss = val(weights)[0] if val else -float(iteration)
        if loss < best.loss:
            best = Found(weights.copy(), loss, c, iteration)
        elif iteration - best.iteration >= PATIENCE:
            raise StopIteration

    options = {"maxiter": max_iter, "gtol": 1e-6, "ftol": 1e-12}
    minimize(cost, start, jac=True, method="L-BFGS-B", options=options, callback=look)
    return best


def one_hot(encoded: Encoded, rows: Ints) -> csr_matrix:
    """Rows over the rows of the embedding table, float64 [n, num_rows].

    A category is a 1, a list its values' shares, a number its value: what ``FirstOrder`` sums.
    """
    schema = encoded.schema
    ids, shares = encoded.ids[rows], []
    begin = 0
    for field in (*schema.of("categorical"), *schema.of("multi_valued")):
        mask = ids[:, begin : begin + field.width] > 0
        begin += field.width
        shares.append(mask / np.maximum(mask.sum(axis=1, keepdims=True), 1))
    starts = np.array([field.start for field in schema.of("numeric")], dtype=np.int32)
    columns = np.concatenate([ids, np.tile(starts, (len(ids), 1))], axis=1)
    values = np.concatenate([*shares, encoded.values[rows].astype(np.float64)], axis=1)
    ends = np.arange(len(ids) + 1) * columns.shape[1]
    shape = (len(ids), schema.num_rows)
    return csr_matrix((values.ravel(), columns.ravel(), ends), shape=shape)
