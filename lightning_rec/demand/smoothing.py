"""Naive forecasts, exponential smoothing and Croston's method, item by item, by statsforecast.

Their point forecasts are the library's. To them are added the errors that each made in the past on
its own fitted values: those of one and the same moment for all items and all periods ahead, drawn
together (the joint bootstrap of Panagiotelis et al. 2023, "Probabilistic forecast reconciliation"),
so that what moves all items at once is kept in sums. They are moved until the mean of the paths is
the library's forecast: a model that is always too high, as Croston's is of what is hardly asked for
any more, stays so, and its bias says it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_rec.data.types import Floats
from lightning_rec.demand.paths import Forecast, around, drawn_moments, past_errors
from lightning_rec.demand.series import Demand
from lightning_rec.errors import UserError, import_extra

# Of statsforecast; SBA: Syntetos and Boylan 2005; TSB: Teunter, Syntetos and Babai 2011.
CLASSES = {
    "naive": ("Naive", {}),
    "seasonal": ("SeasonalNaive", {}),
    "ses": ("SimpleExponentialSmoothingOptimized", {}),
    "croston": ("CrostonSBA", {}),
    "tsb": ("TSB", {"alpha_d": 0.1, "alpha_p": 0.1}),
}  # fmt: skip


@dataclass
class Local:
    """A model of ``CLASSES`` for each item, on the periods since its first sale.

    Args:
        name: of ``CLASSES``.
        season: periods of a season, of ``seasonal``.
        seed: of the draws.

    Raises UserError without statsforecast (the extra ``forecast``).
    """

    name: str
    season: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        models = import_extra("statsforecast.models", f"models=[{self.name}]", "forecast")
        kind, keys = CLASSES[self.name]
        own = {"season_length": self.season} if self.name == "seasonal" else keys
        self.model: Any = getattr(models, kind)(**own)

    def __call__(self, demand: Demand, steps: int) -> Forecast:
        """Paths: past errors around the library's forecasts, not below 0, of whole pieces where the
        log's are; their mean. Raises UserError if a season is not known yet.
        """
        points, fitted = self.points(demand, steps)
        season = self.season if self.name == "seasonal" else 1
        errors = past_errors(demand.counts, fitted, steps, season)
        generator = np.random.default_rng(self.seed)
        at = drawn_moments(demand.first, errors, generator)
        paths = errors[np.arange(len(points)), at]  # [S, N, H], large: all is done in place
        paths += points
        around(paths, points)
        if demand.whole:  # up or down at random, so that means stay: .2 pieces are not always short
            paths += generator.random(paths.shape)
            np.floor(paths, out=paths)
        return Forecast(paths.mean(0), paths.astype(np.float32), demand.whole)

    def points(self, demand: Demand, steps: int) -> tuple[Floats, Floats]:
        """The library's forecasts, float64 [N, H], and of each period from the one before, [N, T],
        NaN where there is none. Raises UserError if a season is not known yet.
        """
        items, periods = demand.counts.shape
        if self.name == "seasonal" and periods - int(demand.first.max()) < self.season + steps:
            raise UserError(
                f"models=[seasonal] needs {self.season} periods and horizon= more of each item: "
                f"say history={self.season + steps}, or season= for a shorter one, or leave it out."
            )
        points, fitted = np.zeros((items, steps)), np.full((items, periods), np.nan)
        for row, (counts, first) in enumerate(zip(demand.counts, demand.first, strict=True)):
            found = self.model.forecast(y=counts[first:], h=steps, fitted=True)
            points[row], fitted[row, first:] = found["mean"], found["fitted"]
        return np.maximum(np.nan_to_num(points), 0), fitted
