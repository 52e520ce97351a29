"""The charts of a report's page, as Plotly takes them: plain ``data`` and ``layout``.

A trace's ``meta`` is the place of its setting, by which the page's legend hides it. Plotly reads
some HTML in texts, so that whatever comes from runs is escaped.
"""

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.lab import Comparison
from lightning_rec.lab.columns import values_of
from lightning_rec.reports.series import (
    costs,
    curves,
    differences,
    levels,
    monitored,
    reliability,
    settings,
    slices,
)

Chart = dict[str, Any]
# To be told apart on white and on black, and by those who do not see all colours.
COLOURS = (
    "#3b7dd8", "#dd7700", "#169b6b", "#c9518f", "#8a63d2", "#a88410", "#d1453b", "#2a9db0",
    "#7a7f87", "#9c6b4f",
)  # fmt: skip
SYMBOLS = {
    "circle": "\u25cf", "square": "\u25a0", "diamond": "\u25c6", "triangle-up": "\u25b2",
    "cross": "\u271a", "x": "\u2716", "star": "\u2605",
}  # fmt: skip
QUANTILES = 401


def colour(setting: int) -> str:
    """Of a setting, in all charts and in the legend."""
    return COLOURS[setting % len(COLOURS)]


def glyph(setting: int) -> str:
    """The symbol of a setting in the charts, as a character."""
    return SYMBOLS[symbol(setting)]


def symbol(setting: int) -> str:
    """Of a setting, as Plotly calls it."""
    return list(SYMBOLS)[setting % len(SYMBOLS)]


def safe(text: object) -> str:
    """A text from a run as Plotly shows it: without tags, and on one line."""
    return html.escape(" ".join(str(text).split()), quote=False)


def finite(value: Any) -> Any:
    """A chart without numbers that JSON does not have: they are None, a gap."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chart(
    data: list[Chart], x: str = "", y: str = "", *, height: int = 340, **layout: Any
) -> Chart:
    """A chart with titles of its axes; further keywords are of Plotly's layout."""
    axes = {
        "xaxis": {"title": {"text": x}, "automargin": True} | layout.pop("xaxis", {}),
        "yaxis": {"title": {"text": y}, "automargin": True} | layout.pop("yaxis", {}),
    }
    common = {
        "height": height, "showlegend": False, "hovermode": "closest", "dragmode": False,
        "margin": {"l": 10, "r": 14, "t": 14, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
    }  # fmt: skip
    return {"data": data, "layout": common | axes | layout}


def _trace(made: Comparison, setting: int, **keys: Any) -> Chart:
    """A scatter trace of a setting."""
    name = safe(settings(made)[setting])
    marker = {"color": colour(setting), "symbol": symbol(setting), "size": 9}
    keys["marker"] = marker | keys.get("marker", {})
    return {"type": "scatter", "name": name, "meta": setting} | keys


def curve_charts(made: Comparison) -> dict[str, Chart]:
    """The monitored figure over epochs and over minutes of training, by what is on the x-axis."""
    found, monitor = curves(made), monitored(made)
    charts = {}
    for x in ("epoch", "minutes"):
        drawn = [each for each in found if getattr(each, x)]
        if not drawn:
            continue
        data = [
            _trace(
                made, each.setting, x=getattr(each, x), y=each.value,
                mode="lines+markers" if each.is_mean else "lines",
                opacity=1 if each.is_mean else 0.45, marker={"size": 6},
                line={"color": colour(each.setting), "width": 2.5 if each.is_mean else 1},
                hoverinfo="all" if each.is_mean else "skip",
            )
            for each in drawn
        ]  # fmt: skip
        ends = [getattr(each, x) for each in drawn]
        span = [min(map(min, ends)), max(map(max, ends))]
        for setting, value in levels(made).items():
            line = {"color": colour(setting), "width": 2, "dash": "dot"}
            data.append(_trace(made, setting, x=span, y=[value] * 2, mode="lines", line=line))
        title = "epoch" if x == "epoch" else "minutes of training"
        charts[title] = chart(data, title, safe(monitor))
    return charts


def cost_charts(made: Comparison, figure: str) -> dict[str, Chart]:
    """The figure against each known cost, by what that is called, with the front marked."""
    charts = {}
    for called, points in costs(made, figure).items():
        front = sorted((each for each in points if each.on_front), key=lambda each: each.cost)
        line = {"color": "rgba(128,128,128,.8)", "width": 1.5, "dash": "dash", "shape": "hv"}
        at = {"x": [each.cost for each in front], "y": [each.value for each in front]}
        data: list[Chart] = [
            {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": line} | at
        ]
        for each in points:
            ring = {"width": 2.5, "color": "rgba(128,128,128,1)"} if each.on_front else {"width": 0}
            spread = {"type": "data", "array": [each.sd or 0], "visible": each.sd is not None}
            data.append(
                _trace(
                    made, each.setting, x=[each.cost], y=[each.value], mode="markers",
                    marker={"size": 13, "line": ring}, error_y=spread | {"thickness": 1.5},
                )
            )  # fmt: skip
        paid = [each.cost for each in points]
        axis: Chart = {"rangemode": "tozero"}
        if min(paid) > 0 and max(paid) / min(paid) > 30:
            axis = {"type": "log", "dtick": 1}
        charts[called] = chart(data, called, safe(figure), xaxis=axis)
    return charts


def _dodged(made: Comparison, rows: Sequence[str], lines: Sequence[Chart], x: str) -> Chart:
    """Points with intervals: a row each, within it a setting below the other.

    ``lines``: ``row``, ``setting``, ``value``, ``low``, ``high`` (None: no interval).
    """
    known = sorted({each["setting"] for each in lines})
    step, data = 0.72 / max(1, len(known)), []
    for place, setting in enumerate(known):
        of = [each for each in lines if each["setting"] == setting]
        sides = [
            [abs(each[end] - each["value"]) if each[end] is not None else 0 for each in of]
            for end in ("high", "low")
        ]
        bars = {"type": "data", "array": sides[0], "arrayminus": sides[1], "symmetric": False}
        shift = (place - (len(known) - 1) / 2) * step
        data.append(
            _trace(
                made, setting, x=[each["value"] for each in of],
                y=[each["row"] + shift for each in of], mode="markers",
                error_x=bars | {"thickness": 1.5, "width": 3}, hoverinfo="x+name",
            )
        )  # fmt: skip
    ticks = {"tickvals": list(range(len(rows))), "ticktext": list(map(safe, rows))}
    y = ticks | {"range": [len(rows) - 0.5, -0.5], "showgrid": False, "zeroline": False}
    height = 70 + len(rows) * max(34, 15 * len(known) + 12)
    return chart(data, x, yaxis=y, height=height)


def slice_chart(made: Comparison, figure: str) -> Chart | None:
    """The figure on each slice of the test, with intervals; None if there are no slices."""
    found = slices(made, figure)
    rows = [f"{_spoken(each.name)} ({each.examples:,})" for each in found]
    keys = ("setting", "value", "low", "high")
    lines = [
        {"row": row, **dict(zip(keys, point, strict=True))}
        for row, each in enumerate(found)
        for point in each.points
    ]
    return _dodged(made, rows, lines, safe(figure)) if lines else None


def sliced_charts(made: Comparison) -> dict[str, Chart]:
    """Differences on the slices that were asked for, by their column and figure."""
    tested = made.sliced.filter(pl.col("p").is_not_null())
    charts = {}
    for (figure, column), of in tested.group_by("figure", "column", maintain_order=True):
        sizes = of.unique("slice", maintain_order=True).select("slice", "examples").rows()
        places = {name: row for row, (name, _) in enumerate(sizes)}
        rows = [f"{name} ({examples:,})" for name, examples in sizes]
        told = f"{figure} by {column}"
        charts[told] = _differing(made, of, rows, [places[name] for name in of["slice"]])
    return charts


def _differing(made: Comparison, of: pl.DataFrame, rows: Sequence[str], at: Sequence[int]) -> Chart:
    """Differences from the baseline with their intervals; line n of ``of`` is in row ``at[n]``."""
    numbers = {name: number for number, name in enumerate(settings(made))}
    lines = [
        {"row": row, "setting": numbers[line["setting"]], "value": line["difference"],
         "low": line["low"], "high": line["high"]}
        for row, line in zip(at, of.iter_rows(named=True), strict=True)
    ]  # fmt: skip
    drawn = _dodged(made, rows, lines, "minus baseline")
    drawn["layout"]["xaxis"] |= {"zeroline": True, "zerolinewidth": 2, "rangemode": "tozero"}
    return drawn


def _spoken(name: str) -> str:
    """The name of a slice in words: ``history_10_19`` is ``history 10\u201319``."""
    name = re.sub(r"_(\d+)_(\d+)$", " \\1\u2013\\2", name)
    return re.sub(r"_(\d+)_up$", " from \\1", name).replace("_", " ")


def difference_chart(made: Comparison) -> Chart | None:
    """Mean differences from the baseline with their intervals over users; None without users."""
    rows = [name for name in made.figures if name in set(made.paired["figure"])]
    at = [rows.index(name) for name in made.paired["figure"]]
    return _differing(made, made.paired, rows, at) if at else None


def user_chart(made: Comparison, figure: str) -> Chart | None:
    """Users (queries, rows) that differ from the baseline, sorted; None without any."""
    found = differences(made, figure)
    changed = [each._replace(values=each.values[each.values != 0]) for each in found]
    share = np.linspace(0, 1, QUANTILES)
    data = [
        _trace(
            made, each.setting, x=share.tolist(), mode="lines", hoverinfo="x+y+name",
            y=np.quantile(each.values, share, method="nearest").tolist(),
            line={"color": colour(each.setting), "width": 2, "shape": "hvh"},
        )
        for each in changed
        if len(each.values)
    ]  # fmt: skip
    x = {"tickformat": ".0%", "range": [0, 1]}
    y = {"zeroline": True, "zerolinewidth": 2}
    title = "share of those that differ"
    return chart(data, title, f"{safe(figure)}, minus baseline", xaxis=x, yaxis=y) if data else None


def reliability_charts(made: Comparison) -> dict[str, Chart]:
    """Observed rate by predicted probability, by goal; empty but for clicks."""
    bins = reliability(made)
    charts = {}
    for goal in bins["goal"].unique(maintain_order=True) if bins.height else ():
        line = {"color": "rgba(128,128,128,.9)", "width": 1.5, "dash": "dash"}
        ideal = {"type": "scatter", "x": [0, 1], "y": [0, 1], "mode": "lines", "line": line}
        data = [ideal | {"hoverinfo": "skip"}]
        for (setting,), of in bins.filter(goal=goal).group_by("setting", maintain_order=True):
            number = int(str(setting))
            data.append(
                _trace(
                    made, number, x=of["predicted"].to_list(), y=of["rate"].to_list(),
                    mode="lines+markers", line={"color": colour(number), "width": 2},
                    text=[f"{rows:,} rows" for rows in of["rows"]],
                )
            )  # fmt: skip
        x, y = ({"range": [0, 1], "constrain": "domain"} for _ in range(2))
        y["scaleanchor"] = "x"
        titles = (f"predicted probability of {safe(goal)}", "observed rate")
        charts[str(goal)] = chart(data, *titles, height=420, xaxis=x, yaxis=y)
    return charts


def figures_of(made: Comparison) -> list[str]:
    """Figures that the comparison has values for, in order."""
    return [name for name in made.figures if values_of(made.runs, name)]
