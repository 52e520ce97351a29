"""Whether the first answer to a question fits: a calibrated confidence, and when to say nothing.

Selective prediction: a calibrator learns from held-out questions whether the first answer is right
(Kamath, Jia & Liang 2020, "Selective Question Answering under Domain Shift", section 3), and
answers below a threshold are withheld (Geifman & El-Yaniv 2017, "Selective Classification for Deep
Neural Networks").
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from lightning_rec.data.chance import bits
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.predict.asking import Frame, check_k, frame
from lightning_rec.predict.matching import MatchPredictor, texts_of
from lightning_rec.predict.told import Told
from lightning_rec.rules.ready import Ready
from lightning_rec.rules.rules import Given

AMONG = 10  # answers whose scores are looked at
LEAST = 50  # questions below which nothing is fitted
SHOWN = 20  # of them at least have to be answered, for a threshold to be one
_LARGEST = 1e100  # of what a file may hold, so that no confidence comes out as no number
RIDGE = 1e-3  # of the calibrator's weights, beside the mean logloss
FACTS = ("score", "ahead of the second", "ahead of the mean of the others", "log of the words")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """The probability that the first answer is right, and from where on it is given.

    mean, scale: of the facts, ``FACTS``.  weight, bias: of the logistic regression over them,
    standardised.  least: the confidence from which on an answer is given.  model: the identity of
    what it was fitted for.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]
    bias: float
    least: float
    model: str

    def of(self, facts: Floats) -> Floats:
        """The confidence of each question, float64 [n]; 0 where nothing was found.

        facts: float64 [n, 4], see :func:`facts_of`.
        """
        standard = (facts - np.array(self.mean)) / np.array(self.scale)
        sure: Floats = expit(standard @ np.array(self.weight) + self.bias)
        return np.where(np.isnan(facts[:, 0]), 0.0, sure)


def facts_of(queries: Sequence[str], found: pl.DataFrame) -> Floats:
    """What is known of the first answer to each query, float64 [n, 4]; NaN where there is none.

    found: ``query``, ``rank`` and ``score`` of the ``AMONG`` best, or of fewer.
    """
    best = pl.col("score").cast(pl.Float64).sort_by("rank").head(AMONG)
    scores = found.group_by("query").agg(best.alias("scores"))
    first, rest = pl.col("scores").list.first(), pl.col("scores").list.slice(1)
    asked = pl.DataFrame({"query": pl.Series(queries, dtype=pl.String)})
    words = pl.col("query").str.extract_all(r"\S+").list.len().cast(pl.Float64).log1p()
    rows = asked.join(scores, "query", "left", maintain_order="left").select(
        first.alias("first"),
        # Where nothing else was found, there is nobody to be ahead of.
        (first - rest.list.first()).fill_null(pl.when(first.is_not_null()).then(0.0)).alias("gap"),
        (first - rest.list.mean()).fill_null(pl.when(first.is_not_null()).then(0.0)).alias("mean"),
        words.alias("words"),
    )
    return rows.to_numpy().astype(np.float64)


def fit_logistic(facts: Floats, right: NDArray[np.bool_]) -> tuple[tuple[float, ...], float]:
    """Weights and bias of the logistic regression of ``right`` on facts, float64 [n, d].

    It minimises the mean logloss and ``RIDGE`` times the squares of the weights.
    """
    sign = np.where(right, 1.0, -1.0)

    def loss(given: Floats) -> tuple[float, Floats]:
        weight, bias = given[:-1], given[-1]
        margin = sign * (facts @ weight + bias)
        pull = -sign * expit(-margin) / len(sign)
        slope = np.append(facts.T @ pull + 2 * RIDGE * weight, pull.sum())
        return float(-log_expit(margin).mean() + RIDGE * (weight**2).sum()), slope

    found = minimize(loss, np.zeros(facts.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return tuple(map(float, found[:-1])), float(found[-1])


@dataclass(frozen=True)
class Asked:
    """Questions and what came first: queries; facts, float64 [n, 4]; right, bool [n], whether the
    first answer is one of theirs; answerable, bool [n], whether they have one that can be found.
    """

    queries: list[str]
    facts: Floats
    right: NDArray[np.bool_]
    answerable: NDArray[np.bool_]


def ask(
    model: MatchPredictor, rows: Frame, unanswerable: float = 0.0, seed: int = 0, step: int = 256
) -> Asked:
    """Ask the questions of rows, ``query`` and ``item``, a row for each right answer.

    ``unanswerable``: from this share of the questions, drawn by ``seed``, their answers are taken
    away, so that the best of the others stands first, and is wrong. A question of whose answers the
    model knows none is unanswerable too. Raises UserError for columns that are missing, and where
    no item is known.
    """
    given = frame(rows, "query", "item").select("query", "item").drop_nulls()
    codes = model.catalogue.codes(given["item"])
    all_of_them = given.select(pl.col("query").cast(pl.String), item=codes).unique()
    known = all_of_them.drop_nulls()
    if known.is_empty():
        raise UserError("No item of the rows is one of the model's: their ids are others.")
    own = all_of_them.group_by("query").agg(pl.col("item").drop_nulls()).sort("query")
    queries = own["query"].to_list()
    taken = bits(seed, np.arange(len(queries))) / 2.0**64 < unanswerable
    most = int(own["item"].list.len().max()) if taken.any() else 0  # type: ignore[arg-type]
    k = min(AMONG + most, model.retriever.longest)
    parts = []
    for start in range(0, len(queries), step):
        found = model.recommend(texts_of(queries[start : start + step]).to_list(), k, told=Told())
        parts.append(
            found.select("query", "rank", "score", item=model.catalogue.codes(found["item"]))
        )
    lists = pl.concat(parts)
    hidden = pl.DataFrame({"query": own["query"], "hidden": taken})
    marks = known.with_columns(own=pl.lit(True))
    lists = lists.join(marks, ["query", "item"], "left", maintain_order="left").join(
        hidden, "query", "left", maintain_order="left"
    )
    lists = lists.filter(~(pl.col("own").fill_null(False) & pl.col("hidden")))
    first = lists.filter(pl.col("rank") == pl.col("rank").min().over("query"))
    right = own.select("query").join(first, "query", "left", maintain_order="left")["own"]
    right_first = right.fill_null(False).to_numpy().astype(bool)
    answerable = ~taken & (own["item"].list.len() > 0).to_numpy()
    return Asked(queries, facts_of(queries, lists), right_first, answerable)


def fit(asked: Asked, accuracy: float, model: str) -> Confidence:
    """Fit the confidence on questions, and choose from where on an answer is given.

    ``accuracy``: the share of right ones that is asked for among the answers given; the threshold
    is the lowest that reaches it. Raises UserError for too few questions, where all first answers
    are right or none is, and where no threshold reaches the accuracy.
    """
    found = ~np.isnan(asked.facts[:, 0])
    facts, right = asked.facts[found], asked.right[found]
    if len(right) < LEAST:
        raise UserError(
            f"Only {len(right)} questions of validation found an answer, and {LEAST} are needed to "
            "fit a confidence: train with a larger share, protocol.val=0.2, or add questions."
        )
    if right.all() or not right.any():
        told = "every" if right.all() else "no"
        raise UserError(f"To {told} question the first answer is right: there is nothing to fit.")
    mean, scale = facts.mean(0), facts.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    weight, bias = fit_logistic((facts - mean) / scale, right)
    ready = Confidence(tuple(mean.tolist()), tuple(scale.tolist()), weight, bias, 0.0, model)
    sure = ready.of(facts)
    order = np.argsort(-sure, kind="stable")
    share = right[order].cumsum() / np.arange(1, len(order) + 1)
    last = np.append(sure[order][1:] < sure[order][:-1], True)  # equal ones are answered together
    enough = np.arange(1, len(order) + 1) >= SHOWN
    reached = np.flatnonzero((share >= accuracy) & enough & last)
    if not len(reached):
        best = float(share[enough & last].max()) if (enough & last).any() else 0.0
        raise UserError(
            f"accuracy={accuracy:g}: no threshold reaches it over {SHOWN} questions or more; the "
            f"best reaches {best:.3f}."
        )
    return Confidence(ready.mean, ready.scale, weight, bias, float(sure[order][reached[-1]]), model)


class Answering:
    """A model of matching that says nothing where nothing fits."""

    def __init__(self, model: MatchPredictor, confidence: Confidence) -> None:
        self.model, self.confidence = model, confidence

    def answer(
        self,
        queries: Sequence[str],
        k: int = 1,
        *,
        least: float | None = None,
        rules: Given | Ready | None = None,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The ``k`` best answers to each question, and how sure the first one is.

        Args:
            queries: questions.
            k: how many answers.
            least: the confidence from which on one is given; None takes that which was fitted.
            rules: filters alone, see :class:`Rules`: others change scores or their order.

        Returns two frames: ``query``, ``confidence`` and ``fits``, a row for each question; and the
        answers of :meth:`MatchPredictor.recommend` of all of them, whether they fit or not.

        Raises UserError for rules that are no filters, a bad ``k``, or what ``recommend`` refuses.
        """
        ready = None if rules is None else self.model.ready(rules)
        if ready is not None and not ready.filters:
            raise UserError("A confidence is of the plain order: of rules, it takes filters alone.")
        asked = texts_of(queries).unique(maintain_order=True)
        longest = self.model.retriever.longest
        check_k(k, longest, "this run can find from 1 to {:,} items for a query")
        among = min(max(k, AMONG), longest)
        found = self.model.recommend(asked.to_list(), among, rules=ready, told=Told())
        sure = self.confidence.of(facts_of(asked.to_list(), found))
        fits = sure >= (self.confidence.least if least is None else least)
        fits &= sure > 0  # where nothing is found, nothing fits
        told = pl.DataFrame({"query": asked, "confidence": sure, "fits": fits})
        return told, found.filter(pl.col("rank") <= k)


def write_confidence(path: Path, confidence: Confidence, facts: dict[str, Any]) -> None:
    """Keep a confidence, with what was measured of it. Raises UserError if the file is there."""
    if path.exists():
        raise UserError(f"to={path} exists: choose another name.")
    write_json(path, {"confidence": asdict(confidence), **facts})


def read_confidence(path: Path, model: str) -> Confidence:
    """What :func:`write_confidence` kept. Raises UserError if it is none, or of another model."""
    try:
        given = dict(read_json(path)["confidence"])
        rows = {
            name: tuple(float(each) for each in given.pop(name))
            for name in ("mean", "scale", "weight")
        }
        numbers = {name: float(given.pop(name)) for name in ("bias", "least")}
        made = Confidence(**rows, **numbers, model=str(given.pop("model")))  # type: ignore[arg-type]
        sound = all(len(each) == len(FACTS) for each in rows.values())
        sound = sound and min(made.scale) > 1e-9 and 0 <= made.least <= 1  # as fit() has them
        values = np.array([*made.mean, *made.scale, *made.weight, made.bias])
        if given or not sound or not (np.abs(values) < _LARGEST).all():
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"confidence={path} holds none: make it by answer --fit.") from None
    if made.model != model:
        raise UserError(f"confidence={path} was fitted for another model: fit it again.")
    return made
