"""Series out of counts."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.demand.series import Demand


def series(counts: Any, every: Any = "week", static: Any = None) -> Demand:
    counts = np.asarray(counts, dtype=np.float64)
    items, periods = counts.shape
    step = {"day": 1, "week": 7}[every]
    starts = [date(2024, 1, 1) + timedelta(days=step * each) for each in range(periods)]
    keys = pl.Series([f"i{each}" for each in range(items)])
    known = np.zeros((items, 0), np.float32) if static is None else np.asarray(static, np.float32)
    return Demand(
        every, starts, keys, keys, counts, (counts > 0).argmax(1).astype(np.int64),
        np.arange(items, dtype=np.int64) % 2, ["even", "odd"], known,
    )  # fmt: skip
