"""A model of the reward, for the direct method and the doubly robust one.

Logistic regression for rewards of 0 and 1, else ridge regression, over the action and what else is
named, each row predicted by a model that was fitted without it (cross-fitting).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, sparse
from scipy.special import expit

Floats = NDArray[np.float64]
FOLDS = 3
PENALTY = 1.0  # of the squares of all weights but the constant, halved
_BLOCK = 2**20  # pairs of row and action that are held at once


def with_rewards(
    log: pl.DataFrame,
    policy: pl.DataFrame,
    context: Sequence[str],
    features: Sequence[str],
    seed: int = 0,
) -> pl.DataFrame:
    """The log with ``expected``, of the policy in the context of the row, and ``predicted``.

    Args:
        log: ``action``, ``reward``, and the columns of context and features.
        policy: ``action`` and its ``probability`` in each context.
        context: columns of both.
        features: columns of the log that the reward may depend on besides; numbers with a point
            as they are, all else as categories.
        seed: of the folds.
    """
    actions = pl.concat([log["action"], policy["action"]]).unique().sort()
    code = pl.col("action").replace_strict(actions, np.arange(len(actions))).cast(pl.Int64)
    log, policy = log.with_columns(_code=code), policy.with_columns(_code=code)
    design = _design(log, features)
    action = log["_code"].to_numpy()
    reward = log["reward"].to_numpy()
    fold = np.random.default_rng(seed).permutation(len(log)) % FOLDS
    expected, predicted = np.zeros(len(log)), np.zeros(len(log))
    own = sparse.csr_array(
        (np.ones(len(log)), (np.arange(len(log)), action)), (len(log), len(actions))
    )
    whole = sparse.hstack([own, design]).tocsr()
    binary = bool(np.isin(reward, (0, 1)).all())
    for number in range(FOLDS):
        held = np.flatnonzero(fold == number)
        weights, constant = fitted(whole[fold != number], reward[fold != number], binary)
        of_action, of_others = weights[: len(actions)], weights[len(actions) :]
        base = constant + design[held] @ of_others
        score = base + of_action[action[held]]
        predicted[held] = expit(score) if binary else score
        rows = log[held].select(*context, base=pl.Series(base))
        expected[held] = _expected(rows, policy, context, of_action, binary)
    found = {"expected": pl.Series(expected), "predicted": pl.Series(predicted)}
    return log.drop("_code").with_columns(**found)


def fitted(design: sparse.csr_array, reward: Floats, binary: bool) -> tuple[Floats, float]:
    """Weights and constant of the regression, as scikit-learn has them with ``C=1``."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        score = design @ weights[:-1] + weights[-1]
        if binary:
            value = float((np.logaddexp(0, score) - reward * score).sum())
            residual = expit(score) - reward
        else:
            residual = score - reward
            value = float(residual @ residual) / 2
        gradient = np.append(design.T @ residual + PENALTY * weights[:-1], residual.sum())
        return value + PENALTY * float(weights[:-1] @ weights[:-1]) / 2, gradient

    start = np.zeros(design.shape[1] + 1)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return found.x[:-1], float(found.x[-1])


def _design(log: pl.DataFrame, features: Sequence[str]) -> sparse.csr_array:
    """Features as columns: each category one of its own, numbers less their mean, over their sd."""
    parts = [sparse.csr_array((len(log), 0))]
    for name in features:
        column = log[name]
        if column.dtype.is_float():
            values = column.fill_null(column.mean()).to_numpy()
            scaled = (values - values.mean()) / (values.std() or 1.0)
            parts.append(sparse.csr_array(scaled[:, None]))
            continue
        codes = column.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
        places = np.arange(len(log)), codes
        parts.append(sparse.csr_array((np.ones(len(log)), places), (len(log), codes.max() + 1)))
    return sparse.hstack(parts).tocsr()


def _expected(
    rows: pl.DataFrame, policy: pl.DataFrame, context: Sequence[str], of_action: Floats,
    binary: bool,
) -> Floats:  # fmt: skip
    """Of each row the sum over actions of their probability times what is predicted of them."""
    sizes: Any = policy.group_by(context).len()["len"].max() if context else len(policy)
    step = max(1, _BLOCK // max(1, sizes))
    known = policy.select(*context, "probability", own=pl.Series(of_action[policy["_code"]]))
    found = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step].with_row_index("_row")
        pairs = part.join(known, list(context)) if context else part.join(known, how="cross")
        score = (pairs["base"] + pairs["own"]).to_numpy()
        value = (expit(score) if binary else score) * pairs["probability"].to_numpy()
        found.append(np.bincount(pairs["_row"].to_numpy(), value, len(part)))
    return np.concatenate(found)
