"""A forecast from end to end: series, backtest, figures, what is to come, and stock."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.data.given_vectors import VectorFile, vectors_of
from lightning_rec.data.ids import ids_of
from lightning_rec.data.schema import Interactions
from lightning_rec.demand.backtests import NAMES, Backtest, Plan, backtest, levels
from lightning_rec.demand.measures import Figure, figures_of
from lightning_rec.demand.neural import Neural
from lightning_rec.demand.paths import Forecast, Forecaster
from lightning_rec.demand.periods import Every
from lightning_rec.demand.series import SEASONS, Demand, demand_of
from lightning_rec.demand.smoothing import CLASSES, Local
from lightning_rec.demand.stock import reorder, stock_of, told_without
from lightning_rec.errors import LeakError, UserError, listed, suggest
from lightning_rec.rules.given import Moment, moment, rows_of

MODELS = (*CLASSES, "neural")
ALWAYS = "always"


@dataclass(frozen=True)
class Asked:
    """What is asked of a forecast; see ``lightning-rec forecast --help``."""

    every: Every = "week"
    by: str = "item"
    category: str | None = None
    quantity: str | None = None
    until: Moment | None = None
    since: Moment | None = None
    models: Sequence[str] = ("ses", "naive", "croston", "neural")
    season: int | None = None
    plan: Plan = field(default_factory=Plan)
    vectors: str | Path | None = None
    known: str | None = None
    stock: Any = None
    epochs: int = 60
    seed: int = 1
    level: float = 0.95

    def __post_init__(self) -> None:
        for name in ("epochs", "season"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}={value}: it has to be 1 or more.")
        if self.every not in SEASONS:
            raise UserError(f"every={self.every}: it is day, week or month.")
        if not self.models or len(set(self.models)) < len(self.models):
            raise UserError("models=: one or several, each once.")
        for name in self.models:
            if name not in MODELS:
                raise UserError(f"models=[{name}] is none.{suggest(name, MODELS)}")
        if (self.vectors is None) != (self.known is None):
            raise UserError(
                "vectors=FILE and known=DATE go together: the date of the last event that the "
                f"vectors were made of, or known={ALWAYS} if they are of no events, but of texts."
            )

    @classmethod
    def of(cls, **keys: Any) -> "Asked":
        """Keys of this and of its plan, together. Raises UserError for one that is unknown."""
        own, plan = ([each.name for each in fields(kind)] for kind in (cls, Plan))
        if unknown := [name for name in keys if name not in (*own, *plan) or name == "plan"]:
            raise UserError(
                f"{unknown[0]}= is no key of forecast.{suggest(unknown[0], own + plan)}"
            )
        planned = Plan(**{name: keys.pop(name) for name in plan if name in keys})
        return cls(plan=planned, **keys)

    def forecasters(self) -> list[Forecaster]:
        """The models, in order. Raises UserError where a library is missing."""
        season = self.season or SEASONS[self.every]
        return [
            Neural(self.seed, self.epochs) if name == "neural" else Local(name, season, self.seed)
            for name in self.models
        ]


@dataclass(frozen=True, eq=False)
class Study:
    """What was found.

    Args:
        data: hash of the log, see :func:`lightning_rec.data.prepare.data_hash`.
        asked: what was asked.
        demand: the series.
        backtest: forecasts beside what came.
        figures: of each level and model.
        best: the model of least pinball loss over items.
        forecasts: a row for each ``model``, ``level``, ``series`` and ``date`` to come: ``mean``
            and quantiles.
        stock: see :func:`lightning_rec.demand.stock.reorder`, by the best model.
        told: what was left out of the log and of the forecast, in sentences.
        dropped: rows of the raw log that were left out by ``data.invalid=drop`` or a choice of
            kinds: ``rows``, all of them, and by the column that they lack.
        seconds: of the whole.
    """

    data: str
    asked: Asked
    demand: Demand
    backtest: Backtest
    figures: list[Figure]
    best: str
    forecasts: pl.DataFrame
    stock: pl.DataFrame
    told: tuple[str, ...]
    dropped: dict[str, int]
    seconds: float

    def facts(self) -> dict[str, Any]:
        """All of it but the tables, for a file."""
        demand = self.demand
        return {
            "asked": {**asdict(self.asked), "stock": None if self.asked.stock is None else "given",
                      "until": self.asked.until and str(self.asked.until),
                      "since": self.asked.since and str(self.asked.since),
                      "vectors": self.asked.vectors and str(self.asked.vectors)},
            "data": self.data,
            "series": len(demand.keys),
            "categories": len(demand.groups),
            "periods": [str(demand.starts[0]), str(demand.starts[-1]), len(demand.starts)],
            "quantity": float(demand.counts.sum()),
            "rows_dropped": self.dropped,
            "left_out": list(self.told),
            "origins": self.backtest.coverage.to_dicts(),
            "best": self.best,
            "figures": [each._asdict() for each in self.figures],
            "seconds": self.seconds,
        }  # fmt: skip


def study(data: Interactions, asked: Asked) -> Study:
    """Measure the models on a rolling origin, then forecast what comes after the log.

    Raises UserError for bad input, and LeakError where vectors were made of what is to be forecast.
    """
    begun = time.perf_counter()
    models = asked.forecasters()
    stock = None if asked.stock is None else _stock(asked.stock)
    ends = asked.until, asked.since
    demand = demand_of(data, asked.every, asked.by, asked.category, asked.quantity, *ends)
    first = asked.plan.origins(len(demand.starts))[0]
    if asked.vectors is not None and asked.known is not None:
        demand = with_vectors(demand, asked.vectors, asked.known, first)
    made = backtest(demand, models, asked.plan)
    figures = figures_of(made, asked.level, asked.seed)
    losses = {
        each.model: each.value for each in figures if each[0] == "item" and each[2] == "pinball"
    }
    best = min(losses, key=lambda name: losses[name]) if losses else asked.models[0]
    plan = asked.plan
    now, _ = demand.until(len(demand.starts), plan.history, plan.least)
    without = demand.unforecast(plan.history, plan.least)
    found = {model.name: model(now, plan.horizon) for model in models}
    table = pl.concat([_table(name, now, each) for name, each in found.items()])
    needed = reorder(now, found[best], plan.lead_time, plan.service, stock, without)
    told = (*demand.told, *_told(demand, without, losses, best), *told_without(needed))
    dropped = dict(data.info["dropped"])
    seconds = time.perf_counter() - begun
    return Study(data.info["data_hash"], asked, demand, made, figures, best, table, needed, told,
                 dropped, seconds)  # fmt: skip


def _stock(given: Any) -> pl.DataFrame:
    where = f"stock={given}" if isinstance(given, str | Path) else "stock="
    return stock_of(rows_of("stock", given), where)


def _told(
    demand: Demand, without: pl.DataFrame, losses: dict[str, float], best: str
) -> Iterator[str]:
    """Which items of the log have no forecast, and whether the best model is known."""
    sold = without.filter(~pl.col("item").is_in(demand.idle.implode()))
    if len(sold):
        counts = sold.group_by("note", maintain_order=True).len()
        why = listed(f"{count:,} {note}" for note, count in counts.iter_rows())
        yield f"{len(sold):,} of {len(demand.keys):,} series have no forecast: {why}."
    if not losses:
        yield f"Nothing was asked for in the windows, so no model is the best: {best} is taken."


def with_vectors(demand: Demand, file: str | Path, known: str, first: int) -> Demand:
    """The series with vectors of a file (``item``, ``vector``) beside what is known of the items.

    Raises LeakError if they were made of events of the first origin or later, which is forecast.
    """
    if known != ALWAYS:
        made = datetime.fromtimestamp(moment("known", known), UTC).date()
        if made >= demand.starts[first]:
            raise LeakError(
                f"vectors={file} were made of events until {made}, and the backtest begins to "
                f"forecast on {demand.starts[first]}: make them of what was before "
                "(protocol.until=), or ask for fewer windows=."
            )
    rows = rows_of("vectors", str(file)) if Path(file).is_file() else None
    if rows is None or not {"item", "vector"} <= set(rows.columns):
        raise UserError(
            f"vectors={file}: it is a file of the columns item and vector, as 'lightning-rec "
            "vectors' writes it."
        )
    lengths = rows["vector"].list.len() if rows["vector"].dtype == pl.List else None
    if lengths is None or lengths.n_unique() != 1 or not lengths[0]:
        raise UserError(f"vectors={file}: vectors are lists of numbers, all of one length.")
    values = rows["vector"].list.to_array(lengths[0]).to_numpy()
    given, _ = vectors_of(VectorFile(Path(file), ids_of(rows["item"]), values), demand.keys, "zero")
    return replace(demand, static=np.concatenate([demand.static, given], axis=1))


def _table(model: str, now: Demand, found: Forecast) -> pl.DataFrame:
    steps = found.mean.shape[1]
    tables = []
    for level, keys, forecast in levels(now, found):
        quantiles = zip(NAMES, forecast.quantiles(), strict=True)
        tables.append(
            pl.DataFrame(
                {
                    "series": pl.Series(keys).gather(np.repeat(np.arange(len(keys)), steps)),
                    "date": now.later(steps) * len(keys),
                    "mean": forecast.mean.ravel(),
                    **{name: each.ravel() for name, each in quantiles},
                }
            ).with_columns(pl.lit(level).alias("level"))
        )
    return pl.concat(tables).select(
        pl.lit(model).alias("model"), "level", pl.all().exclude("level")
    )
