"""What a model of clicks makes of other prices: the elasticity of its probability."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from lightning_rec.data.types import Floats, Ints
from lightning_rec.errors import UserError, suggest
from lightning_rec.predict.asking import frame
from lightning_rec.predict.clicks import ClickPredictor, score_of

RESAMPLES = 1000
BLOCK = 2**21  # units of resamples that are held at once
ANSWERED = ("change", "rows", "probability", "changed", "elasticity", "low", "high")
ALL = "all"  # the group of rows that are not grouped


def elasticity(
    model: ClickPredictor,
    rows: pl.DataFrame,
    column: str,
    changes: Sequence[float] = (-0.1, 0.1),
    by: str | None = None,
    unit: str | None = None,
    goal: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """The mean probability of rows at other values of a number, such as a price.

    What the model has learnt of prices is of a log, in which they were not drawn by chance: dear
    items may be others than cheap ones. It is what the model would answer, no effect of a price.

    Args:
        model: of clicks.
        rows: as :meth:`ClickPredictor.score` reads them.
        column: a number that the model reads; above 0.
        changes: shares by which it is changed, above -1: -0.1 is ten percent less.
        by: a column of the rows, whose values are told apart.
        unit: a column of the rows, such as users, whose rows belong together in the intervals; None
            takes each row for itself.
        goal: of a model with several.
        level: of the percentile bootstrap intervals over units.
        seed: of their draws.

    Returns:
        For each group (``by``) and change: ``rows``, ``probability`` (as it is), ``changed``,
        and the arc elasticity ``ln(changed / probability) / ln(1 + change)`` with ``low`` and
        ``high``: by how many percent the probability moves if the number moves by one.

    Raises UserError for a column that the model does not read as a number, values that are not
    above 0, or changes that are none.
    """
    _check(model, column, changes)
    if by in ANSWERED:
        raise UserError(f"by={by}: the answer has a column of this name: give yours another.")
    given = frame(rows, column, *(each for each in (by, unit) if each is not None))
    prices = given[column].cast(pl.Float64, strict=False)
    if not len(given) or prices.is_null().any() or not (prices > 0).all():
        raise UserError(f"column={column}: each of the rows needs a number above 0.")
    answer = score_of(model.processor.schema.goals, goal)
    scores = {
        change: model.score(given.with_columns((prices * (1 + change)).alias(column)))[answer]
        for change in (0.0, *changes)
    }
    groups = (
        given[by].cast(pl.String).fill_null("") if by else pl.repeat(ALL, len(given), eager=True)
    )
    units = _numbered(given[unit]) if unit else np.arange(len(given))
    lines = []
    for group in groups.unique(maintain_order=True):
        inside = (groups == group).to_numpy()
        made = {change: each.to_numpy()[inside] for change, each in scores.items()}
        lines += _lines(group, made, units[inside], level, seed)
    return pl.DataFrame(lines).rename({"group": by or "group"})


def _check(model: ClickPredictor, column: str, changes: Sequence[float]) -> None:
    numbers = model.processor.fields.numeric
    if column not in numbers:
        raise UserError(
            f"column={column} is no number that this model reads."
            f"{suggest(column, numbers, 'It reads')}"
        )
    if not changes or any(each <= -1 or each == 0 for each in changes):
        raise UserError(f"changes={list(changes)}: shares above -1 that are not 0, such as [-0.1].")


def _lines(
    group: str, scores: dict[float, Floats], units: Ints, level: float, seed: int
) -> list[dict[str, object]]:
    """A line for each change of a group."""
    owner = np.unique(units, return_inverse=True)[1]
    sums: dict[float, Floats] = {
        change: np.bincount(owner, weights=each).astype(np.float64)
        for change, each in scores.items()
    }
    resampled = _resampled(sums, seed)
    tail = (1 - level) / 2
    lines = []
    for change, each in scores.items():
        if change == 0:
            continue
        before, after = float(scores[0.0].mean()), float(each.mean())
        found = np.log(after / before) / np.log1p(change)
        low, high = None, None
        if resampled is not None:
            ratio = resampled[change] / resampled[0.0]
            ends = np.quantile(np.log(ratio) / np.log1p(change), [tail, 1 - tail])
            low, high = map(float, ends)
        lines.append(
            {
                "group": group, "change": change, "rows": len(each), "probability": before,
                "changed": after, "elasticity": float(found), "low": low, "high": high,
            }
        )  # fmt: skip
    return lines


def _resampled(sums: dict[float, Floats], seed: int) -> dict[float, Floats] | None:
    """Sums over units drawn with replacement, by change; None for a single unit."""
    number, generator = len(sums[0.0]), np.random.default_rng(seed)
    if number < 2:
        return None
    made = {change: np.zeros(RESAMPLES) for change in sums}
    step = max(1, BLOCK // number)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        drawn = generator.integers(number, size=(rows, number))
        for change, each in sums.items():
            made[change][start : start + rows] = each[drawn].sum(axis=1)
    return made


def _numbered(values: pl.Series) -> Ints:
    return values.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
