"""The picture of a forecast: what was, what is to come, and how far off each model was."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.demand.study import Study
from lightning_rec.lab.drawing import COLOURS, MARKERS, drawable, drawn, save

SHOWN = 26  # periods before what is to come
ITEMS = 2


def draw(made: Study, folder: Path) -> list[Path]:
    """Draw ``forecast.png`` and ``.pdf``: all, the two largest items, and WAPE by model."""
    with drawn(4.6, 7.0, "forecast.png") as figure:
        axes = figure.subplots(2, 2)
        _errors(made, axes[0, 0])
        _series(made, axes[0, 1], "total", "all", "all items")
        now = made.forecasts.filter(level="item", model=made.best)
        sums = (
            now.group_by("series").agg(pl.col("mean").sum()).sort("mean", "series", descending=True)
        )
        titles = dict(zip(made.demand.keys, made.demand.titles, strict=True))
        largest = sums["series"].head(ITEMS).to_list()
        for place, axis in enumerate(axes[1]):
            if place < len(largest):
                _series(made, axis, "item", largest[place], drawable(titles[largest[place]])[:40])
            else:
                axis.set_visible(False)
        return save(figure, folder, "forecast")


def _errors(made: Study, axis: Any) -> None:
    """WAPE of the models on each level, with its interval where there is one."""
    found = [each for each in made.figures if each.figure == "wape"]
    levels = list(dict.fromkeys(each.level for each in found))
    models = list(made.asked.models)
    for each in found:
        at = models.index(each.model)
        place = levels.index(each.level) + (at - (len(models) - 1) / 2) * 0.8 / len(models)
        low, high = each.low, each.high
        sides = None if low is None or high is None else [[each.value - low], [high - each.value]]
        axis.errorbar(
            place, each.value, sides, color=COLOURS[at % len(COLOURS)], linestyle="none",
            marker=MARKERS[at % len(MARKERS)], capsize=2,
            label=each.model if each.level == levels[0] else None,
        )  # fmt: skip
    if not found:  # nothing was asked for in any window
        axis.set_visible(False)
        return
    axis.set(xticks=range(len(levels)), xticklabels=levels, ylabel="WAPE")
    _from_zero(axis)
    axis.legend(frameon=False)


def _series(made: Study, axis: Any, level: str, key: str, title: str) -> None:
    """A series, and what the best model expects with an interval of 80 %."""
    demand = made.demand
    if level == "total":
        counts = demand.counts.sum(0)
    else:
        counts = demand.counts[demand.keys.to_list().index(key)]
    axis.plot(demand.starts[-SHOWN:], counts[-SHOWN:], color="grey", label="log")
    for at, model in enumerate(made.asked.models):
        rows = made.forecasts.filter(model=model, level=level, series=key)
        dates: list[date] = rows["date"].to_list()
        colour = COLOURS[at % len(COLOURS)]
        axis.plot(dates, rows["mean"], color=colour, marker=MARKERS[at % len(MARKERS)])
        if model == made.best:
            axis.fill_between(dates, rows["q10"], rows["q90"], color=colour, alpha=0.2, linewidth=0)
    axis.set_title(f"{title} ({made.best}: 80 %)" if level == "total" else title, fontsize=8)
    axis.set(ylabel=f"per {demand.every}")
    _from_zero(axis)
    axis.tick_params(axis="x", rotation=30)


def _from_zero(axis: Any) -> None:
    """Let an axis begin at 0, and end above it where all that is drawn is 0."""
    axis.set_ylim(0, max(axis.dataLim.y1, 0) * 1.05 or 1)
