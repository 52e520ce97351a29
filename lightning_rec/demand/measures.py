"""MASE, RMSSE, WAPE, bias, pinball loss, coverage and service, with intervals over series.

All are ratios of sums over series, so that one bootstrap serves them: series are drawn with
replacement, all windows of one together, the same ones for all models.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.types import Floats
from lightning_rec.demand.backtests import LEVELS, NAMES, Backtest
from lightning_rec.demand.paths import QUANTILES

RESAMPLES = 1000
FIGURES = ("mase", "rmsse", "wape", "bias", "pinball", "coverage", "served")
SERIES = ["model", "level", "series"]


class Figure(NamedTuple):
    """A figure of a model on a level, its interval, and its difference to the first model."""

    level: str
    model: str
    figure: str
    series: int
    value: float
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


def sums(made: Backtest) -> pl.DataFrame:
    """Of each model, level and series, ``{figure}_over`` and ``{figure}_under``.

    A figure is the sum of the one over that of the other. Series that never changed before an
    origin have no MASE and no RMSSE there, and are left out of these.
    """
    error, actual = (pl.col("actual") - pl.col("mean")), pl.col("actual")
    over = {q: actual - pl.col(name) for q, name in zip(QUANTILES, NAMES, strict=True)}
    losses = [2 * pl.max_horizontal(q * each, (q - 1) * each) for q, each in over.items()]
    pinball = pl.mean_horizontal(losses)
    within = (actual >= pl.col(NAMES[0])) & (actual <= pl.col(NAMES[-1]))
    scaled = pl.col("scale") > 0
    squared = (error**2 / pl.col("scale2")).filter(scaled).mean().sqrt()
    found = made.table.group_by(SERIES).agg(
        (error.abs() / pl.col("scale")).filter(scaled).sum().alias("mase_over"),
        scaled.sum().cast(pl.Float64).alias("mase_under"),
        squared.fill_null(0.0).alias("rmsse_over"),
        scaled.any().cast(pl.Float64).alias("rmsse_under"),
        error.abs().sum().alias("wape_over"), actual.sum().alias("wape_under"),
        (-error).sum().alias("bias_over"), actual.sum().alias("bias_under"),
        pinball.sum().alias("pinball_over"), actual.sum().alias("pinball_under"),
        within.sum().cast(pl.Float64).alias("coverage_over"),
        pl.len().cast(pl.Float64).alias("coverage_under"),
    )  # fmt: skip
    served = made.lead.group_by(SERIES).agg(
        (pl.col("actual") <= pl.col("reorder")).sum().cast(pl.Float64).alias("served_over"),
        pl.len().cast(pl.Float64).alias("served_under"),
    )
    return found.join(served, SERIES)


def figures_of(made: Backtest, level: float, seed: int) -> list[Figure]:
    """All figures, with intervals of ``level`` where there are two series or more.

    Differences are to the first model of the table. A figure that is not defined is left out.
    """
    models = made.table["model"].unique(maintain_order=True).to_list()
    table, found = sums(made), list[Figure]()
    for place in LEVELS:
        own = {model: table.filter(model=model, level=place).sort("series") for model in models}
        if not (series := len(own[models[0]])):
            continue
        weights = _weights(series, seed)
        for figure in FIGURES:
            over, under = (
                np.column_stack([own[model][f"{figure}_{end}"].to_numpy() for model in models])
                for end in ("over", "under")
            )
            if not under.sum(0).all():
                continue
            values = over.sum(0) / under.sum(0)
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn = (weights @ over) / (weights @ under)  # [R, models]
            for at, model in enumerate(models):
                ends = _ends(drawn[:, at], level, series)
                one = (place, model, figure, series, float(values[at]), *ends)
                apart = _ends(drawn[:, at] - drawn[:, 0], level, series) if at else (None, None)
                difference = float(values[at] - values[0]) if at else None
                found.append(Figure(*one, difference, *apart))
    return found


def _weights(series: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    even = np.full(series, 1 / series)
    return generator.multinomial(series, even, RESAMPLES).astype(np.float64)


def _ends(drawn: Floats, level: float, series: int) -> tuple[float | None, float | None]:
    drawn = drawn[np.isfinite(drawn)]
    if series < 2 or not len(drawn):
        return None, None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
