"""The weight of taste beside relevance, fitted on choices that neither model was trained on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_rec.answers.personal import PersonalSearch, of_users
from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Mask
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.predict.asking import Frame, frame
from lightning_rec.predict.histories import asked_of
from lightning_rec.predict.matching import texts_of
from lightning_rec.predict.told import Told

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
LEAST = 20  # rows below which nothing is fitted
STEP = 512  # rows that are scored at once


class Fitted(NamedTuple):
    """What was fitted.

    weight: with the highest ndcg, the lowest of several. table: ``weight``, ``ndcg``, ``mrr`` of
    each weight on all rows. rows: how many were used. left_out: how many were not, and why.
    ndcg: of the weight that one half of the users choose, on the other half, both ways: no row is
    judged by a weight that it helped to choose. plain: of relevance alone, on the same rows.
    interval: of their difference, 95 %, users as units.
    """

    weight: float
    table: pl.DataFrame
    rows: int
    left_out: dict[str, int]
    ndcg: float
    plain: float
    interval: tuple[float, float]
    k: int
    among: int


def fit(search: PersonalSearch, rows: Frame, k: int = 10) -> Fitted:
    """Fit the weight on what users chose after a query; ``search`` then has it.

    Args:
        search: whose weight is fitted; the one that it has plays no part.
        rows: ``query``, ``item`` (what was chosen), and ``history`` (the items before the choice,
            oldest first), ``user`` (known to the model of sequences), or both; then ``history`` is
            read, and ``user`` says which rows belong together. They have to be later than what
            both models were trained on, which nobody can see here; a row whose item is in the
            history itself is left out.
        k: of ndcg@k.

    Raises:
        UserError: for columns that are missing, or too few rows.
    """
    given = frame(rows, "query", "item")
    if not {"history", "user"} & set(given.columns):
        raise UserError("The rows have neither a column 'history' nor 'user': whose choice is it?")
    code = search.matching.catalogue.codes(given["item"])
    left_out = {"of items that the model of matching does not know": int(code.null_count())}
    given = given.filter(code.is_not_null())
    chosen = torch.from_numpy(code.drop_nulls().cast(pl.Int64).to_numpy().copy())
    ranks, kept, empty = _ranks(search, given, chosen)
    left_out["whose item is in the history: it may be the choice itself"] = int((~kept).sum())
    left_out["without a history that the model of sequences knows"] = int((empty & kept).sum())
    kept &= ~empty
    if kept.sum() < LEAST:
        told = "; ".join(f"{number:,} {why}" for why, number in left_out.items() if number)
        raise UserError(
            f"Only {int(kept.sum())} rows can be used to fit the weight, and {LEAST} are needed"
            f"{f' (left out: {told})' if told else ''}."
        )
    unit = ids_of(given["user"]) if "user" in given.columns else _numbers(given)
    unit = unit.filter(pl.Series(kept))
    ranks = ranks[kept]  # [n, weights]
    gain = np.where((ranks > 0) & (ranks <= k), 1 / np.log2(np.maximum(ranks, 1) + 1.0), 0)
    recip = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0)
    table = pl.DataFrame({"weight": WEIGHTS, "ndcg": gain.mean(0), "mrr": recip.mean(0)})
    crossed, plain, interval = _crossed(gain, unit)
    search.weight = WEIGHTS[_best(gain)]
    return Fitted(
        search.weight, table, len(ranks), left_out, crossed, plain, interval, k, search.among
    )


def _ranks(
    search: PersonalSearch, given: pl.DataFrame, code: torch.Tensor
) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Ranks of the items chosen by each weight, [n, weights], in the lists that are answered, 0
    where they are not among the candidates; which rows do not hold them in the history; which hold
    none.
    """
    texts = texts_of(given["query"])
    ranks = np.zeros((len(given), len(WEIGHTS)), dtype=np.int64)
    kept, empty = np.ones(len(given), dtype=bool), np.zeros(len(given), dtype=bool)
    for start in range(0, len(given), STEP):
        part, own = given.slice(start, STEP), code[start : start + STEP]
        rows = slice(start, start + len(part))
        if "history" in part.columns:
            named = part.with_columns(user=_numbers(part))
            asked = asked_of(named, search.taste.catalogue, Told())
        else:
            asked = of_users(search.taste, part["user"], strict=False)
        length = np.diff(asked.offsets)
        of = np.repeat(np.arange(len(part)), length)
        again = of[asked.items == search.codes[own].numpy()[of]]
        kept[start + again], empty[rows] = False, length == 0
        found = search.candidates(texts[rows], asked)
        there = found.items == own[:, None]
        before = (there.cumsum(1) == 0) & there.any(1, keepdim=True)  # they go first if as good
        for place, weight in enumerate(WEIGHTS):
            score = search.mixed(found, weight)
            mine = score.masked_fill(~there, -torch.inf).amax(1, keepdim=True)
            ahead = (score > mine) | ((score == mine) & before)
            rank = (ahead.sum(1) + 1).where(there.any(1), 0)
            ranks[rows, place] = rank.numpy()
    return ranks, kept, empty


def _numbers(given: pl.DataFrame) -> pl.Series:
    return pl.Series("user", range(len(given)), dtype=pl.Int64)


def _best(gain: NDArray[np.float64]) -> int:
    return int(gain.mean(0).argmax())


def _crossed(
    gain: NDArray[np.float64], unit: pl.Series
) -> tuple[float, float, tuple[float, float]]:
    """Gain by weights of the other half, by relevance alone, and the interval of the difference."""
    half = (unit.hash(seed=0) % 2).cast(pl.Int64).to_numpy().astype(bool)
    own = gain[:, 0].copy()
    for side in (half, ~half):
        if side.any() and (~side).any():
            own[side] = gain[side, _best(gain[~side])]
    difference = pl.DataFrame({"unit": unit, "by": own - gain[:, 0]})
    each = difference.group_by("unit").agg(pl.col("by").sum(), pl.len().alias("rows"))
    mean = float((own - gain[:, 0]).mean())
    # The mean over rows as a ratio over users, by linearisation.
    rest = each["by"].to_numpy() - mean * each["rows"].to_numpy()
    number = max(2, len(each))
    error = float(np.sqrt((rest**2).sum() * number / (number - 1))) / len(own)
    interval = (mean - 1.96 * error, mean + 1.96 * error)
    return float(own.mean()), float(gain[:, 0].mean()), interval


def write_fitted(path: Path, fitted: Fitted, relevance: str, taste: str) -> None:
    """Keep a weight with what it was fitted for; ``relevance``, ``taste``: of what models."""
    if path.exists():
        raise UserError(f"to={path} exists: choose another name.")
    facts: dict[str, Any] = fitted._asdict() | {"table": fitted.table.to_dicts()}
    write_json(path, facts | {"relevance": relevance, "taste": taste})


def read_weight(path: Path, relevance: str, taste: str) -> tuple[float, int]:
    """The weight and ``among`` that :func:`write_fitted` kept.

    Raises UserError if the file is none, or of other models.
    """
    try:
        facts = read_json(path)
        weight, among = float(facts["weight"]), int(facts["among"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"weight={path} holds no weight: make it by search --fit.") from None
    for name, identity in (("relevance", relevance), ("taste", taste)):
        if facts.get(name) != identity:
            raise UserError(f"weight={path} was fitted for another model of {name}: fit it again.")
    return weight, among
