"""Plots of tables of a run, as PNG: the reliability diagram of predicted probabilities."""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.files import atomic_path

log = logging.getLogger(__name__)


def draw(tables: Mapping[str, pl.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw those of a run's tables that have a plot, ``NAME.png`` beside ``NAME.parquet``.

    Returns the files by name; none where matplotlib is not installed (the extra ``plots``).
    """
    drawn = [name for name in PLOTS if name in tables]
    if drawn and find_spec("matplotlib") is None:
        log.info("No plot is drawn without matplotlib: pip install 'lightning-rec[plots]'.")
        return {}
    files = {}
    for name in drawn:
        from matplotlib.figure import Figure  # slow to import

        figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
        PLOTS[name](figure, tables[name])
        files[name] = folder / f"{name}.png"
        with atomic_path(files[name]) as temporary:
            figure.savefig(temporary, format="png")
    return files


def reliability(figure: Any, bins: pl.DataFrame) -> None:
    """Reliability diagram: observed rate by predicted probability, and the rows of each bin."""
    bins = bins.filter(pl.col("rows") > 0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    above.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="ideal calibration")
    goals = bins["goal"].unique(maintain_order=True)
    width = 0.1 / len(goals)
    for number, goal in enumerate(goals):
        of = bins.filter(pl.col("goal") == goal)
        above.plot(of["predicted"], of["rate"], marker="o", label=f"test, {goal}")
        below.bar(of["from"] + number * width, of["rows"], width, align="edge", edgecolor="white")
    above.set(ylabel="observed rate", xlim=(0, 1), ylim=(0, 1), title="Reliability diagram")
    above.legend(loc="upper left")
    below.set(xlabel="predicted probability", ylabel="rows")


PLOTS: dict[str, Callable[[Any, pl.DataFrame], None]] = {"reliability": reliability}
