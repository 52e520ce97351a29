"""The numbers behind the plots of a comparison: curves, costs, slices, differences of users."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.errors import UserError
from lightning_rec.figures import EXAMPLES, Better, better, declared, parse, parsed
from lightning_rec.lab import Comparison, of_examples, spread
from lightning_rec.lab.columns import COSTS, values_of
from lightning_rec.lab.examples import even

SMALLEST_SLICE = 10  # examples; of fewer there is nothing to see


class Curve(NamedTuple):
    """A figure of validation by epoch, from 1, of one seed, or the mean of a setting's seeds.

    ``minutes``: of training until each epoch's end; empty if the run does not know.
    """

    setting: int
    epoch: list[int]
    value: list[float]
    minutes: list[float]
    is_mean: bool


class Point(NamedTuple):
    """A setting's mean cost and figure; ``on_front``: none is cheaper and as good, or better."""

    setting: int
    cost: float
    value: float
    sd: float | None
    on_front: bool


class Slice(NamedTuple):
    """A part of the test, and of each setting that measured it its number, mean, low and high."""

    name: str
    examples: int
    points: list[tuple[int, float, float | None, float | None]]


class Differences(NamedTuple):
    """A setting minus the baseline, float64 [units], of each user (query, row) of the test."""

    setting: int
    values: NDArray[np.float64]


def settings(made: Comparison) -> list[str]:
    """Titles; the plots name a setting by its place here."""
    return made.runs["setting"].unique(maintain_order=True).to_list()


def monitored(made: Comparison) -> str:
    """The figure of validation that most runs monitor; nothing if no run says."""
    known = values_of(made.runs, "monitor")
    return str(Counter(map(str, known)).most_common(1)[0][0]) if known else ""


def curves(made: Comparison) -> list[Curve]:
    """Of each setting the curve of every seed, then their mean over the epochs all have."""
    found, monitor = list[Curve](), monitored(made)
    for number, name in enumerate(settings(made)):
        runs = made.runs.filter(setting=name).iter_rows(named=True)
        seeds = [_curve(number, run) for run in runs if _has_curve(run, monitor)]
        if len(seeds) > 1:
            found += [each._replace(is_mean=False) for each in seeds]
        if seeds:
            found.append(_mean(seeds))
    return found


def levels(made: Comparison) -> dict[int, float]:
    """What is monitored of settings that keep no curve, such as those that are fitted at once."""
    drawn = {curve.setting for curve in curves(made)}
    named = {n: made.runs.filter(setting=name) for n, name in enumerate(settings(made))}
    found = {n: values_of(runs, monitored(made)) for n, runs in named.items() if n not in drawn}
    return {n: spread(values).mean for n, values in found.items() if values}


def _has_curve(run: dict[str, Any], monitor: str) -> bool:
    return bool(run.get("curve")) and str(run.get("monitor")) == monitor


def _curve(setting: int, run: dict[str, Any]) -> Curve:
    epochs = [int(each["epoch"]) for each in run["curve"]]
    values = [float(each["value"]) for each in run["curve"]]
    seconds = run.get("cost.epoch_seconds")
    minutes = [epoch * seconds / 60 for epoch in epochs] if seconds else []
    return Curve(setting, epochs, values, minutes, True)


def _mean(seeds: Sequence[Curve]) -> Curve:
    epochs = sorted(set.intersection(*(set(each.epoch) for each in seeds)))
    rows = [[each.epoch.index(epoch) for epoch in epochs] for each in seeds]

    def means(kept: Sequence[Sequence[float]]) -> list[float]:
        table = [[of[row] for row in at] for of, at in zip(kept, rows, strict=True)]
        return [float(value) for value in np.mean(table, axis=0)]

    minutes = [each.minutes for each in seeds]
    values = means([each.value for each in seeds])
    return Curve(seeds[0].setting, epochs, values, means(minutes) if all(minutes) else [], True)


def costs(made: Comparison, figure: str) -> dict[str, list[Point]]:
    """Each known cost, by what it is called, with a point per setting; of two settings or more."""
    found = {}
    for of_run in (each for each in COSTS if each.title):
        points = []
        for number, name in enumerate(settings(made)):
            runs = made.runs.filter(setting=name)
            paid, values = values_of(runs, of_run.column), values_of(runs, figure)
            if paid and values:
                of = spread(values)
                points.append(Point(number, spread(paid).mean / of_run.per, of.mean, of.sd, False))
        if len(points) > 1:
            found[of_run.title] = _front(points, better(figure))
    return found


def _front(points: list[Point], good: Better) -> list[Point]:
    """The points with those marked that no other one beats; none where neither way is good."""
    sign = {"max": 1, "min": -1, None: 0}[good]

    def beats(one: Point, other: Point) -> bool:
        ours, theirs = ((-each.cost, sign * each.value) for each in (one, other))
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))

    return [
        each._replace(on_front=bool(sign) and not any(beats(other, each) for other in points))
        for each in points
    ]


def slices(made: Comparison, figure: str) -> list[Slice]:
    """A figure on each slice of the test that has examples enough."""
    names = parsed(name for name in made.runs.columns if "/" in name)
    found = []
    for name, parts in names.items():
        if not parts.slice or parts._replace(slice="") != parse(figure):
            continue
        start = name.rpartition("/")[0]
        points = list[tuple[int, float, float | None, float | None]]()
        sizes = [0]
        for number, setting in enumerate(settings(made)):
            runs = made.runs.filter(setting=setting)
            values, counts = values_of(runs, name), values_of(runs, f"{start}/{EXAMPLES}")
            if values and counts and counts[0] > 0:
                sizes.append(int(counts[0]))
                mean, rates = spread(values).mean, values_of(runs, f"{start}/rate")
                limits = _limits(mean, parts.figure, sizes[-1], rates, made.level)
                points.append((number, mean, *limits))
        if max(sizes) >= SMALLEST_SLICE:
            found.append(Slice(parts.slice, max(sizes), points))
    return sorted(found, key=_bin)


def _bin(of: Slice) -> tuple[str, int]:
    """Bins of one column by their numbers: ``history_5_9`` before ``history_10_19``."""
    column, *numbers = re.split(r"_(?=\d)", of.name)
    return column, int(re.sub(r"\D.*", "", numbers[0], flags=re.DOTALL)) if numbers else -1


def _limits(
    mean: float, figure: str, count: int, rates: Sequence[float], level: float
) -> tuple[float, float] | tuple[None, None]:
    """An interval over the examples of a slice, from its size alone; nothing for a loss.

    Means of values from 0 to 1: Wilson's (1927), which is wider than it need be unless all are 0
    or 1. Areas under a curve of clicks: Hanley and McNeil's (Radiology 1982).
    """
    from scipy import stats

    z = float(stats.norm.ppf((1 + level) / 2))
    if figure == "auc" and rates:
        clicks, others = count * rates[0], count * (1 - rates[0])
        if min(clicks, others) < 1:
            return None, None
        one, two = mean / (2 - mean), 2 * mean**2 / (1 + mean)
        spreads = (clicks - 1) * (one - mean**2) + (others - 1) * (two - mean**2)
        half = z * ((mean * (1 - mean) + spreads) / (clicks * others)) ** 0.5
        return max(0.0, mean - half), min(1.0, mean + half)
    known = declared().get(figure)
    if known is None or known.section not in ("ranking", "judged") or not 0 <= mean <= 1:
        return None, None
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (mean * (1 - mean) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def differences(made: Comparison, figure: str) -> list[Differences]:
    """Of settings whose run folders keep the examples of the test; none of an area of clicks."""
    found = []
    base = _of_units(made, made.baseline, figure)
    for number, name in enumerate(settings(made)):
        ours = _of_units(made, name, figure) if name != made.baseline else None
        if base is not None and ours is not None:
            each = even(ours - base, ours, base)
            found.append(Differences(number, each[~np.isnan(each)]))
    return found


def _of_units(made: Comparison, setting: str, figure: str) -> NDArray[np.float64] | None:
    """A figure of each unit, a mean over its examples and the seeds; NaN where not defined."""
    kept = [of_examples(folder, figure) for folder in made.folders(setting)]
    found = [each for each in kept if each is not None and each.label is None]
    if not found or len(found) < len(kept):
        return None
    table = pl.DataFrame(
        {"unit": found[0].unit, "value": np.mean([each.value for each in found], axis=0)}
    ).with_columns(pl.col("value").fill_nan(None))
    means = table.group_by("unit", maintain_order=True).mean().sort("unit")["value"]
    return means.cast(pl.Float64).to_numpy()


class Shown(NamedTuple):
    """A user of the test with what each setting recommends, by its place; of its first run."""

    user: str
    history: list[str]
    target: str
    recommended: dict[int, list[str]]


def examples(made: Comparison) -> list[Shown]:
    """Users that two settings or more kept recommendations for, ``examples=N`` of a run."""
    from lightning_rec.runs.folder import RunFolder

    found: dict[tuple[str, str], Shown] = {}
    for number, name in enumerate(settings(made)):
        folders = made.folders(name)
        if not folders or not (folders[0] / "examples.parquet").is_file():
            continue
        for line in RunFolder(folders[0]).table("examples").iter_rows(named=True):
            user, target = str(line["user"]), str(line["target"])
            shown = found.setdefault((user, target), Shown(user, line["history"], target, {}))
            shown.recommended[number] = list(map(str, line["recommended"]))
    return [each for each in found.values() if len(each.recommended) > 1]


def reliability(made: Comparison) -> pl.DataFrame:
    """Bins of predicted probabilities of clicks, with the rows of all seeds of a setting.

    ``setting`` (its place), ``goal``, ``from``, ``rows``, ``predicted``, ``rate``; empty if no run
    folder keeps ``reliability.parquet``.
    """
    from lightning_rec.runs.folder import RunFolder

    files = [
        (number, folder / "reliability.parquet")
        for number, name in enumerate(settings(made))
        for folder in made.folders(name)
        if (folder / "reliability.parquet").is_file()
    ]
    tables = [
        RunFolder(path.parent).table(path.stem).with_columns(setting=pl.lit(number))
        for number, path in files
    ]
    if not tables:
        return pl.DataFrame()
    rows = pl.col("rows")
    weighted = [(pl.col(name) * rows).sum() / rows.sum() for name in ("predicted", "rate")]
    try:
        bins = pl.concat(tables).filter(rows > 0).group_by("setting", "goal", "from")
        return bins.agg(rows.sum(), *weighted).sort("setting", "goal", "from")
    except pl.exceptions.PolarsError as error:
        told = ", ".join(str(path) for _, path in files)
        raise UserError(f"{told}: not of the columns that a run writes ({error}).") from error
