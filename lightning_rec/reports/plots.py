"""The reliability diagram of predicted probabilities, as PNG."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.files import atomic_path

log = logging.getLogger(__name__)


def draw(tables: Mapping[str, pl.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw ``reliability.png`` beside ``reliability.parquet``, if a run has it; the files by name.

    Nothing where matplotlib is not installed (the extra ``plots``).
    """
    if "reliability" not in tables:
        return {}
    if find_spec("matplotlib") is None:
        log.info("No plot is drawn without matplotlib: pip install 'lightning-rec[plots]'.")
        return {}
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
    reliability(figure, tables["reliability"])
    path = folder / "reliability.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return {"reliability": path}


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
