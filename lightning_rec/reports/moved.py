"""The page of ``lightning-rec monitor``: what moved, over windows of time where there are some."""

import datetime
from collections.abc import Sequence

from lightning_rec import __version__
from lightning_rec.figures import percent
from lightning_rec.lab.statistics import p_value
from lightning_rec.monitoring.drift import MUCH, SOME
from lightning_rec.monitoring.judging import Line, amount, named, state
from lightning_rec.reports.charts import COLOURS, Chart, chart, safe
from lightning_rec.reports.page import page_of
from lightning_rec.reports.sections import Section
from lightning_rec.reports.tables import Cell, PageTable

SHOWN = 10  # figures of the chart over time


def page(name: str, lines: Sequence[Line], told: Sequence[str], level: float) -> str:
    """The page; ``told``: sentences. Raises UserError without jinja2 or plotly."""
    moved = sum(line.warns for line in lines)
    head = Section(
        "moved", "What moved", ["Of each figure how far it is from what was before. " + _RULE],
        _judged(lines, level), told, _charts(lines), by_setting=False,
    )  # fmt: skip
    rest = Section("else", "What else", table=_others(lines), by_setting=False)
    today = datetime.datetime.now(datetime.UTC).date()
    about = f"{moved} lines moved · written {today} by lightning_rec {__version__}"
    sections = [head] + [rest] * any(line.p is None for line in lines)
    return page_of(f"Watching {name}", about, sections)


_RULE = (
    f"PSI below {SOME} is nothing, from {MUCH} on much; a line is told where chance does not "
    "explain it, too (p after Benjamini and Hochberg). A click on a heading sorts."
)


def _judged(lines: Sequence[Line], level: float) -> PageTable:
    """A row for each line that is judged, what moved most first."""
    order = {"far": 0, "moved": 1, "ok": 2, "few": 3}
    found = [line for line in lines if line.p is not None]
    found.sort(key=lambda line: (order[line.state], line.window))
    rows = [
        [
            Cell(named(line), line.name), Cell(line.window), Cell(state(line), order[line.state]),
            Cell(line.detail), Cell(amount(line, line.value), line.value),
            Cell(f"{amount(line, line.low)} to {amount(line, line.high)}", line.low),
            Cell("" if line.ks is None else f"{line.ks:.3f}", line.ks),
            Cell("" if line.adjusted is None else p_value(line.adjusted), line.adjusted),
            Cell(f"{line.units:,}", line.units),
        ]
        for line in found
    ]  # fmt: skip
    header = ["what", "window", "", "most", "value", f"{percent(level)} interval", "KS", "p"]
    header.append("users")
    return PageTable(header, rows, text=4)


def _others(lines: Sequence[Line]) -> PageTable:
    rows = [
        [
            Cell(line.name), Cell(line.window), Cell(amount(line, line.value), line.value),
            Cell(f"{line.units:,}", line.units),
        ]
        for line in lines if line.p is None
    ]  # fmt: skip
    return PageTable(["what", "window", "value", "of"], rows, text=2)


def _charts(lines: Sequence[Line]) -> dict[str, Chart]:
    drifts = [line for line in lines if line.unit == "PSI"]
    if not drifts:
        return {}
    if len({line.window for line in drifts}) > 1:
        return {"PSI by window": _over_time(drifts)}
    return {"PSI with intervals": _at_once(drifts)}


def _over_time(lines: Sequence[Line]) -> Chart:
    """A line for each of the figures that moved most."""
    names = sorted({line.name for line in lines}, key=lambda name: -_most(lines, name))[:SHOWN]
    data: list[Chart] = []
    for place, name in enumerate(names):
        own = [line for line in lines if line.name == name]
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": safe(name),
                "x": [line.window for line in own], "y": [line.value for line in own],
                "line": {"color": COLOURS[place % len(COLOURS)], "width": 2},
            }
        )  # fmt: skip
    made = chart(data, "", "PSI", height=420, shapes=_limits("y"), yaxis={"rangemode": "tozero"})
    made["layout"] |= {"showlegend": True, "legend": {"orientation": "h", "y": -0.25}}
    return made


def _most(lines: Sequence[Line], name: str) -> float:
    return max(line.value for line in lines if line.name == name)


def _at_once(lines: Sequence[Line]) -> Chart:
    found = sorted(lines, key=lambda line: line.value)
    ends = {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
        "array": [max(0.0, (line.high or line.value) - line.value) for line in found],
        "arrayminus": [max(0.0, line.value - (line.low or 0.0)) for line in found],
    }  # fmt: skip
    colours = [COLOURS[6] if line.warns else COLOURS[0] for line in found]
    data: list[Chart] = [
        {
            "type": "scatter", "mode": "markers", "x": [line.value for line in found],
            "y": [safe(line.name) for line in found], "error_x": ends,
            "marker": {"color": colours, "size": 9}, "hoverinfo": "x+y",
        }
    ]  # fmt: skip
    x = {"rangemode": "tozero"}
    return chart(data, "PSI", height=90 + 30 * len(found), shapes=_limits("x"), xaxis=x)


def _limits(axis: str) -> list[Chart]:
    """Where something and where much moved."""
    other = "x" if axis == "y" else "y"
    across = {f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1}
    line = {"width": 1, "dash": "dot", "color": "rgba(128,128,128,.9)"}
    ends = [{f"{axis}0": limit, f"{axis}1": limit} for limit in (SOME, MUCH)]
    return [{"type": "line", "line": line} | across | each for each in ends]
