"""Parallel coordinates of settings that are numbers, of runs and of the trials of a search."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec.documents import read_yaml
from lightning_rec.lab import Comparison
from lightning_rec.reports.charts import Chart, chart, safe
from lightning_rec.runs.sweeps import key_of

TICKS = 6
APART = 0.045  # of the height: ticks nearer than that would be written over one another
LOWEST, HIGHEST = (150, 175, 215), (217, 72, 15)  # red, green and blue of the lines


def parallel_chart(made: Comparison, figure: str) -> Chart | None:
    """The settings in which runs differ by numbers; None for less than three runs.

    They are those that at least half of the runs have, of the runs that have all of them.
    """
    runs = [each for each in made.runs.iter_rows(named=True) if each.get(figure) is not None]
    said = [dict(map(_parted, run.get("overrides") or [])) for run in runs]
    keys = sorted(set().union(*said) - {"seed"})
    configs = [_config(run) for run in runs]
    numbers = {
        key: [_number(_value(config, key, of)) for config, of in zip(configs, said, strict=True)]
        for key in keys
    }
    common = [key for key, of in numbers.items() if 2 * (len(of) - of.count(None)) >= len(of)]
    kept = [n for n, _ in enumerate(runs) if all(numbers[key][n] is not None for key in common)]
    runs = [runs[n] for n in kept]
    columns = {
        key: [value for n in kept if (value := numbers[key][n]) is not None] for key in common
    }
    axes = [axis(key, values) for key, values in columns.items() if len(set(values)) > 1]
    if not axes or len(runs) < 3:
        return None
    return parallel([*axes, axis(figure, [run[figure] for run in runs], log=False)])


def _parted(override: str) -> tuple[str, str]:
    return key_of(override), override.partition("=")[2]


def _config(run: dict[str, Any]) -> dict[str, Any]:
    path = Path(run["run"]) / "config.yaml"
    found = read_yaml(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _value(config: Any, key: str, said: dict[str, str]) -> Any:
    """The value of a key in a run's config, else as it was said; None if it is not known."""
    if not config:
        return said.get(key)
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _number(value: Any) -> float | None:
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and not isinstance(value, bool) else None


def axis(name: str, values: Sequence[float], log: bool | None = None) -> Chart:
    """An axis; by logarithms where numbers differ by two magnitudes, if nothing is said."""
    if log is None:
        log = min(values) > 0 and max(values) / min(values) >= 100
    shown = [math.log10(each) for each in values] if log else list(values)
    found: Chart = {"label": safe(name.removeprefix("model.")), "values": shown, "log": log}
    ticks = sorted(set(values))
    if log and len(ticks) > TICKS:
        powers = range(math.floor(min(shown)), math.ceil(max(shown)) + 1)
        steps = (1, 2, 5) if len(powers) <= 4 else (1,)
        every = [step * 10.0**power for power in powers for step in steps]
        ticks = [each for each in every if min(values) <= each <= max(values)]
    if log or len(ticks) <= TICKS:
        found["tickvals"] = [math.log10(each) for each in ticks] if log else ticks
        found["ticktext"] = [f"{each:,.4g}" for each in ticks]
    return found


def choices(name: str, values: Sequence[object]) -> Chart:
    """An axis of values that are no numbers, in the order of their text."""
    known = sorted(set(map(str, values)))
    ticks = {"tickvals": list(range(len(known))), "ticktext": list(map(safe, known))}
    places = [known.index(str(each)) for each in values]
    return {"label": safe(name.removeprefix("model.")), "values": places} | ticks


def parallel(axes: Sequence[Chart]) -> Chart:
    """Lines through the axes, coloured by the last of them, the highest on top.

    Plain lines: Plotly's own parallel coordinates take several of the few WebGL contexts that a
    browser gives to a page.
    """
    places = [_places(each) for each in axes]
    lines = sorted(zip(*places, strict=True), key=lambda line: line[-1])
    told = sorted(zip(places[-1], *map(_told, axes), strict=True), key=lambda line: line[0])
    data = [
        {"type": "scatter", "mode": "lines", "x": [*range(len(axes))], "y": line,
         "line": {"color": _colour(line[-1]), "width": 1.5}, "hoverinfo": "text",
         "text": "<br>".join(texts)}
        for line, (_, *texts) in zip(lines, told, strict=True)
    ]  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    span = {"range": [-0.35, len(axes) - 0.65]}
    return chart(
        data, height=360, margin={"l": 10, "r": 10, "t": 60, "b": 10},
        xaxis=hidden | span, yaxis=hidden | {"range": [-0.04, 1.04]},
        shapes=[
            {"type": "line", "x0": n, "x1": n, "y0": 0, "y1": 1, "line": {"color": "#888"}}
            for n, _ in enumerate(axes)
        ],
        annotations=[each for n, of in enumerate(axes) for each in _labels(n, of)],
    )  # fmt: skip


def _ends(of: Chart) -> tuple[float, float]:
    values = [*of["values"], *of.get("tickvals", ())]
    return min(values), max(values)


def _places(of: Chart) -> list[float]:
    """Where values lie on an axis, from 0 to 1; in the middle where all are equal."""
    low, high = _ends(of)
    return [(each - low) / (high - low) if high > low else 0.5 for each in of["values"]]


def _told(of: Chart) -> list[str]:
    known = dict(zip(of.get("tickvals", ()), of.get("ticktext", ()), strict=True))
    log = of.get("log", False)
    shown = (known.get(each) or f"{10**each if log else each:,.4g}" for each in of["values"])
    return [f"{of['label']} {each}" for each in shown]


def _labels(place: int, of: Chart) -> list[Chart]:
    """The name of an axis above it, and its ticks."""
    low, high = _ends(of)
    if "tickvals" in of:
        ticks = dict(zip(of["tickvals"], of["ticktext"], strict=True))
    else:
        ticks = {each: f"{each:,.3g}" for each in (low, (low + high) / 2, high)}
    common = {"x": place, "showarrow": False, "font": {"size": 10}}
    above = 1.04 + 0.07 * (place % 2)  # neighbours at two heights, where long names would meet
    name = {"text": of["label"], "y": above, "yanchor": "bottom", "font": {"size": 11}}
    placed, last = [common | name], -1.0
    for value, text in sorted(ticks.items()):
        height = (value - low) / (high - low) if high > low else 0.5
        if height - last >= APART:
            last = height
            placed.append(common | {"text": text, "xanchor": "right", "xshift": -4, "y": height})
    return placed


def _colour(share: float) -> str:
    """From pale blue, the lowest, to orange, the highest."""
    parts = (round(low + share * (high - low)) for low, high in zip(LOWEST, HIGHEST, strict=True))
    return f"rgb({','.join(map(str, parts))})"
