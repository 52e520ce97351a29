"""Pictures of a run, as PNG: the reliability diagram of predicted probabilities, and what the place
in a list does to a language model.
"""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.files import atomic_path

log = logging.getLogger(__name__)


def draw(tables: Mapping[str, pl.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw ``reliability.png`` and ``positions.png`` beside the tables of these names, if a run has
    them; the files by name.

    Nothing where matplotlib is not installed (the extra ``plots``).
    """
    asked = {name: each for name, each in PICTURES.items() if name in tables}
    if not asked:
        return {}
    if find_spec("matplotlib") is None:
        log.info("No plot is drawn without matplotlib: pip install 'lightning-rec[plots]'.")
        return {}
    from matplotlib.figure import Figure  # slow to import

    paths = {name: folder / f"{name}.png" for name in asked}
    for name, draws in asked.items():
        figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
        draws(figure, tables[name])
        with atomic_path(paths[name]) as temporary:
            figure.savefig(temporary, format="png")
    return paths


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


def positions(figure: Any, places: pl.DataFrame) -> None:
    """How often what stands at each place of a list is put first, and the mean rank it is given,
    with intervals; broken lines where the place does not matter.
    """
    number = len(places)
    shown = {"first": ("put first", 1 / number), "rank": ("mean rank given", (number + 1) / 2)}
    axes = figure.subplots(len(shown), 1, sharex=True)
    for axis, (name, (told, even)) in zip(axes, shown.items(), strict=True):
        axis.axhline(even, color="grey", linestyle="--", linewidth=1)
        spread = (places[f"{name}_low"], places[f"{name}_high"])
        axis.fill_between(places["place"], *spread, alpha=0.25, linewidth=0)
        axis.plot(places["place"], places[name], marker="o")
        axis.set(ylabel=told)
    axes[0].set(title="What the place in the list does", ylim=(0, None))
    axes[-1].set(xlabel="place in the list, in random orders")


PICTURES: dict[str, Callable[[Any, pl.DataFrame], None]] = {
    "reliability": reliability,
    "positions": positions,
}
