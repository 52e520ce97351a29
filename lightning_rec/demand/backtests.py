"""Forecasts of a rolling origin beside what came: one table, out of which all figures are made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lightning_rec.data.types import Floats, Ints
from lightning_rec.demand.paths import QUANTILES, Forecast, Forecaster
from lightning_rec.demand.series import Demand
from lightning_rec.demand.stock import point_of
from lightning_rec.errors import UserError

LEVELS = ("item", "category", "total")
NAMES = [f"q{round(100 * each):02d}" for each in QUANTILES]


@dataclass(frozen=True)
class Plan:
    """How a backtest is made.

    Args:
        horizon: periods ahead.
        windows: origins, one period apart, the last of which is ``horizon`` before the end.
        history: periods that an item has to have had since its first sale.
        least: how much of it has to have been sold in them.
        lead_time: periods from an order to its arrival, at most ``horizon``.
        service: with which probability the stock is to last over them.
    """

    horizon: int = 4
    windows: int = 6
    history: int = 8
    least: float = 1.0
    lead_time: int = 2
    service: float = 0.95

    def __post_init__(self) -> None:
        for name in ("horizon", "windows", "history", "lead_time"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: it has to be 1 or more.")
        if self.lead_time > self.horizon:
            raise UserError(
                f"lead_time={self.lead_time} is longer than horizon={self.horizon}: raise that."
            )
        if not 0 < self.service < 1:
            raise UserError(f"service={self.service:g}: it has to be between 0 and 1.")

    def origins(self, periods: int) -> list[int]:
        """The first period to be forecast of each window. Raises UserError if there are too few."""
        first = periods - self.horizon - self.windows + 1
        if first < self.history:
            raise UserError(
                f"The log has {periods} whole periods, and horizon={self.horizon}, windows="
                f"{self.windows} and history={self.history} take "
                f"{self.horizon + self.windows - 1 + self.history}: ask for less, or take shorter "
                "periods by every=."
            )
        return list(range(first, first + self.windows))


@dataclass(frozen=True, eq=False)
class Backtest:
    """What was forecast beside what came.

    Args:
        table: a row for each ``model``, ``level``, ``series``, ``origin`` and ``step`` (1 is the
            first period ahead): ``mean``, the quantiles ``q10`` to ``q90``, ``actual``, and
            ``scale``, ``scale2``, see :func:`scales`.
        lead: of each model, level, series and origin: ``reorder``, the point for the lead time,
            and ``actual``, what was asked for in it.
        coverage: of each origin, how many items took part, and their share of what came.
    """

    table: pl.DataFrame
    lead: pl.DataFrame
    coverage: pl.DataFrame


def backtest(demand: Demand, models: Sequence[Forecaster], plan: Plan) -> Backtest:
    """Ask each model at each origin, showing it what was before. Raises UserError if too little is
    known.
    """
    tables, leads, coverage = [], [], []
    for origin in plan.origins(len(demand.starts)):
        known, kept = demand.until(origin, plan.history, plan.least)
        if not len(kept):
            raise UserError(
                f"No item has history={plan.history} periods and least={plan.least:g} before "
                f"{demand.starts[origin]}: lower them, or windows=."
            )
        came = demand.counts[:, origin : origin + plan.horizon]
        every = float(came.sum())
        share = float(came[kept].sum()) / every if every else None
        coverage.append((str(demand.starts[origin]), len(kept), len(demand.keys), share))
        truth = _truth(known, came[kept])
        for model in models:
            found = model(known, plan.horizon)
            for level, keys, forecast in levels(known, found):
                about = {"model": model.name, "level": level, "origin": str(demand.starts[origin])}
                actual, scaled = truth[level]
                tables.append(_rows(about, keys, forecast, actual, scaled))
                leads.append(_lead(about, keys, forecast, actual, plan))
    return Backtest(
        pl.concat(tables), pl.concat(leads),
        pl.DataFrame(coverage, ["origin", "items", "of", "share"], orient="row"),
    )  # fmt: skip


def levels(known: Demand, found: Forecast) -> Iterator[tuple[str, list[str], Forecast]]:
    """Items, categories and all: keys and forecast of each level, which add up."""
    yield "item", known.keys.to_list(), found
    for level, code, keys in _groups(known):
        yield level, keys, found.summed(code, len(keys))


def _groups(known: Demand) -> list[tuple[str, Ints, list[str]]]:
    """Each level above items: the code of each item [N], and names of the codes."""
    items = len(known.keys)
    groups = [("total", np.zeros(items, dtype=np.int64), ["all"])]
    there = np.unique(known.group)
    if len(there) > 1:
        names = [known.groups[each] for each in there]
        groups.insert(0, ("category", np.searchsorted(there, known.group), names))
    return groups


def _truth(known: Demand, came: Floats) -> dict[str, tuple[Floats, tuple[Floats, Floats]]]:
    """Of each level what came, and its scales."""
    found = {"item": (came, scales(known.counts, known.first))}
    for level, code, keys in _groups(known):
        past, later = (_summed(each, code, len(keys)) for each in (known.counts, came))
        found[level] = (later, scales(past, (past > 0).argmax(1)))
    return found


def _summed(counts: Floats, group: Ints, number: int) -> Floats:
    total = np.zeros((number, counts.shape[1]))
    np.add.at(total, group, counts)
    return total


def scales(past: Floats, first: Ints) -> tuple[Floats, Floats]:
    """Mean absolute and mean squared change from period to period since the first sale, [N] each.

    The first is what MASE is scaled by (Hyndman and Koehler 2006, section 3), the second that of
    RMSSE (Makridakis, Spiliotis and Assimakopoulos 2022, "M5 accuracy competition").
    """
    change = np.diff(past, axis=1)
    lived = np.arange(1, past.shape[1]) > first[:, None]
    number = np.maximum(lived.sum(1), 1)
    return (np.abs(change) * lived).sum(1) / number, (change**2 * lived).sum(1) / number


def _rows(
    about: dict[str, str], keys: list[str], found: Forecast, actual: Floats,
    scaled: tuple[Floats, Floats],
) -> pl.DataFrame:  # fmt: skip
    steps = actual.shape[1]
    quantiles = found.quantiles()
    return pl.DataFrame(
        {
            "series": pl.Series(keys).gather(np.repeat(np.arange(len(keys)), steps)),
            "step": np.tile(np.arange(1, steps + 1), len(keys)),
            "actual": actual.ravel(),
            "mean": found.mean.ravel(),
            **{name: each.ravel() for name, each in zip(NAMES, quantiles, strict=True)},
            "scale": np.repeat(scaled[0], steps),
            "scale2": np.repeat(scaled[1], steps),
        }
    ).with_columns(pl.lit(value).alias(name) for name, value in about.items())


def _lead(
    about: dict[str, str], keys: list[str], found: Forecast, actual: Floats, plan: Plan
) -> pl.DataFrame:
    point = point_of(found, plan.lead_time, plan.service)
    came = actual[:, : plan.lead_time].sum(1)
    rows = pl.DataFrame({"series": keys, "reorder": point, "actual": came})
    return rows.with_columns(pl.lit(value).alias(name) for name, value in about.items())
