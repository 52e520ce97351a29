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
    found: Chart = {
        "label": safe(name.removeprefix("model.")),
        "values": shown,
        "tickformat": ".3~g",
    }
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
    """Lines through the axes, coloured by the last of them."""
    line = {"color": axes[-1]["values"], "colorscale": "Portland", "showscale": False}
    data = {"type": "parcoords", "dimensions": list(axes), "line": line, "labelangle": 0}
    return chart([data], height=360, margin={"l": 50, "r": 50, "t": 60, "b": 24})
