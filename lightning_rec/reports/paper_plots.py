"""Plots for a column of a paper, as PNG and PDF: curves, figure against cost, differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_rec.lab import Comparison
from lightning_rec.lab.drawing import WIDTH, drawn, legend, save, style
from lightning_rec.reports.series import costs, curves, levels, monitored, settings


def draw(made: Comparison, folder: Path) -> list[Path]:
    """Write what there is to draw into ``folder``; the files.

    Raises UserError without matplotlib (the extra ``plots``).
    """
    drawers: dict[str, Callable[[Any, Comparison], bool]] = {
        "curves": _curves, "cost": _costs, "differences": _differences,
    }  # fmt: skip
    files = []
    for name, drawer in drawers.items():
        with drawn(2.4) as figure:
            if drawer(figure, made):
                files += save(figure, folder, name)
    return files


def _curves(figure: Any, made: Comparison) -> bool:
    found = [each for each in curves(made) if each.is_mean]
    if not found:
        return False
    axes, handles = figure.subplots(), dict[int, Any]()
    for each in found:
        handles[each.setting], *_ = axes.plot(each.epoch, each.value, **style(each.setting))
    for setting, value in levels(made).items():
        line = style(setting) | {"marker": ""}
        handles[setting] = axes.axhline(value, linewidth=0.8, **line)
    axes.set(xlabel="epoch", ylabel=monitored(made))
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, dict(enumerate(settings(made))), handles)
    return True


def _costs(figure: Any, made: Comparison) -> bool:
    """The figure against CPU minutes, else against the first cost that is known."""
    found = costs(made, made.figures[0])
    if not found:
        return False
    called, points = next(iter(found.items()))
    axes, handles = figure.subplots(), dict[int, Any]()
    front = sorted((each for each in points if each.on_front), key=lambda each: each.cost)
    x, y = [each.cost for each in front], [each.value for each in front]
    axes.step(x, y, where="post", color="0.6", linewidth=0.8, zorder=1)
    for each in points:
        of = style(each.setting) | {"linestyle": "none", "markersize": 6}
        edge = {"markeredgecolor": "black", "markeredgewidth": 0.9} if each.on_front else {}
        handles[each.setting] = axes.errorbar(
            each.cost, each.value, yerr=each.sd, capsize=2, **of, **edge
        )
    paid = [each.cost for each in points]
    if min(paid) > 0 and max(paid) / min(paid) > 30:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # powers would be written as mathematics
        axes.xaxis.set_minor_formatter("")
    axes.set(xlabel=called, ylabel=made.figures[0])
    legend(figure, dict(enumerate(settings(made))), handles)
    return True


def _differences(figure: Any, made: Comparison) -> bool:
    """Mean differences from the baseline with their intervals over users, a row per figure."""
    lines = made.paired.to_dicts()
    if not lines:
        return False
    names = list(dict.fromkeys(line["figure"] for line in lines))
    known = list(dict.fromkeys(line["setting"] for line in lines))
    figure.set_size_inches(WIDTH, 0.6 + 0.17 * len(names) * (len(known) + 1))
    axes, handles = figure.subplots(), dict[int, Any]()
    for line in lines:
        setting, place = settings(made).index(line["setting"]), known.index(line["setting"])
        row = names.index(line["figure"]) + (place - (len(known) - 1) / 2) * 0.8 / len(known)
        sides = [[line["difference"] - line["low"]], [line["high"] - line["difference"]]]
        of = style(setting) | {"linestyle": "none"}
        handles[setting] = axes.errorbar(line["difference"], row, xerr=sides, capsize=2, **of)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel("difference from the baseline")
    legend(figure, dict(enumerate(settings(made))), handles)
    return True
