"""Backtests over a rolling origin: what models made at one moment are worth in later windows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning_rec.errors import UserError
from lightning_rec.lab.drawing import COLOURS, DASHES, MARKERS, drawn, save
from lightning_rec.lab.examples import Values
from lightning_rec.lab.paired import mean_of
from lightning_rec.lab.periods import alone, mean_over, of_periods
from lightning_rec.runs.folder import RunFolder

NEVER, UPDATE, ANEW = "never", "update", "anew"
WAYS = (NEVER, UPDATE, ANEW)  # to refresh a model


@dataclass(frozen=True)
class Window:
    """A window of the log: models for it train before ``start``; dates in ISO, UTC.

    ``since``: where the log begins for them, None for its own beginning; ``val_from``: where their
    validation begins; ``start``, ``end``: of the targets.
    """

    number: int
    since: str | None
    val_from: str
    start: str
    end: str

    def overrides(self, protocol: str = "temporal") -> list[str]:
        """The protocol of a run for this window."""
        since = [f"protocol.since='{self.since}'"] if self.since else []
        return [
            f"protocol={protocol}", *since, f"protocol.val_from='{self.val_from}'",
            f"protocol.test_from='{self.start}'", f"protocol.until='{self.end}'",
        ]  # fmt: skip


def windows_of(
    first: float, last: float, every: float, number: int, kept: float | None, valid: float
) -> list[Window]:
    """The last ``number`` windows of a log from ``first`` to ``last``, all in seconds.

    ``every``: how long one is; ``kept``: how much before it is trained on, None for all; ``valid``:
    how much of that, at its end, validates. Raises UserError where the log is too short.
    """
    end = int(last) + 1
    starts = [end - (number - each) * every for each in range(number)]
    if kept is not None and kept <= valid:
        raise UserError("window= has to be longer than valid=, which validates at its end.")
    if starts[0] - valid <= first:
        days = (last - first) / 86400
        raise UserError(
            f"windows={number} of every= and one of valid= before them are longer than the log, "
            f"which spans {days:,.1f} days: ask for fewer, or shorter ones."
        )
    return [
        Window(
            each + 1, None if kept is None else _iso(start - kept), _iso(start - valid),
            _iso(start), _iso(start + every),
        )
        for each, start in enumerate(starts)
    ]  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Two ways over the targets of all windows but the first: the ``figure`` of ``way`` and of the
    other one, ``beside``; their ``difference``, its interval over users, and what ``way`` costs
    more, in seconds of a processor.
    """

    way: str
    other: str
    targets: int
    users: int
    figure: float | None
    beside: float | None
    difference: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class Age:
    """Models ``age`` windows old beside new ones, on the same targets: see :class:`Compared`."""

    age: int
    targets: int
    figure: float | None
    new: float | None
    difference: float
    low: float
    high: float


@dataclass
class Backtest:
    """What models of each way are worth in each window.

    Args:
        figure: by which; of targets of sequences, or of rows of clicks.
        level: of intervals.
        values: by way and window number, the figure of each target.
        aged: by numbers of the window of a model trained anew and of a later one.
        seconds: processor time of the runs of a way, by window.
        units: what intervals are over, such as users.
    """

    figure: str
    level: float
    values: dict[tuple[str, int], Values]
    aged: dict[tuple[int, int], Values]
    seconds: dict[tuple[str, int], float]
    units: str = "users"

    def mean(self, way: str, number: int) -> float | None:
        """The figure of a way in a window; None where it has no target."""
        found = self.values.get((way, number))
        return None if found is None or not len(found.value) else mean_of([found])

    def interval(self, way: str, number: int) -> tuple[float, float] | None:
        """That of :meth:`mean`; None where it has none."""
        found = self.values.get((way, number))
        return None if found is None or not len(found.value) else alone(found, self.level)

    def compared(self) -> list[Compared]:
        """Each way beside the cheaper one before it."""
        ways = [way for way in WAYS if any(key[0] == way for key in self.values)]
        later = sorted({number for _, number in self.values} - {1})
        found = []
        for other, way in pairwise(ways):
            ours, theirs = ([self.values[each, n] for n in later] for each in (way, other))
            both = mean_over(ours), mean_over(theirs)
            if not later or (apart := of_periods(ours, theirs, self.level)) is None:
                continue
            targets = sum(len(each.value) for each in ours)
            cost = [sum(self.seconds.get((each, n), 0.0) for n in later) for each in (way, other)]
            found.append(
                Compared(
                    way, other, targets, apart.units, *both, apart.difference, apart.low,
                    apart.high, cost[0] - cost[1],
                )
            )  # fmt: skip
        return found

    def ages(self) -> list[Age]:
        """How models age: those trained anew for one window, in later ones."""
        found = []
        for age in sorted({later - made for made, later in self.aged}):
            pairs = [key for key in sorted(self.aged) if key[1] - key[0] == age]
            old = [self.aged[key] for key in pairs]
            new = [self.values[ANEW, later] for _, later in pairs]
            if (apart := of_periods(old, new, self.level)) is not None:
                both, targets = (mean_over(old), mean_over(new)), sum(len(e.value) for e in old)
                found.append(Age(age, targets, *both, apart.difference, apart.low, apart.high))
        return found

    def facts(self, windows: Sequence[Window]) -> dict[str, Any]:
        """All of it, for a file."""
        ways = [way for way in WAYS if any(key[0] == way for key in self.values)]
        return {
            "figure": self.figure,
            "level": self.level,
            "units": self.units,
            "windows": [
                asdict(each)
                | {
                    "targets": len(self.values[ways[0], each.number].value),
                    "figures": {way: self.mean(way, each.number) for way in ways},
                    "intervals": {way: self.interval(way, each.number) for way in ways},
                    "seconds": {way: self.seconds.get((way, each.number), 0.0) for way in ways},
                }
                for each in windows
            ],
            "compared": [asdict(each) for each in self.compared()],
            "ages": [asdict(each) for each in self.ages()],
        }


def measured(
    made: Backtest,
    windows: Sequence[Window],
    runs: Mapping[tuple[str, int], Path],
    ask: Callable[[RunFolder, int], Values],
) -> Backtest:
    """Ask the runs of each way and window for the targets of that window, and of later ones.

    ``runs``: the completed run of a way for a window, which for ``never`` is that of the first one.
    ``ask``: the figure of each target of a window, by its number, by a run.
    """
    for (way, number), path in runs.items():
        run = RunFolder.open(path)
        made.values[way, number] = ask(run, number)
        if way != NEVER or number == 1:
            made.seconds[way, number] = float(run.card.get("cpu_seconds") or 0.0)
        for later in windows if way == ANEW else ():
            if later.number > number:
                made.aged[number, later.number] = ask(run, later.number)
    return made


def draw(made: Backtest, windows: Sequence[Window], folder: Path) -> list[Path]:
    """Draw ``backtest.png`` and ``.pdf``: each way over the windows, and how models age."""
    ways = [way for way in WAYS if any(key[0] == way for key in made.values)]
    ages = made.ages()
    with drawn(2.4, 6.8 if ages else 3.3) as figure:
        axes = figure.subplots(1, 2 if ages else 1, squeeze=False)[0]
        for number, way in enumerate(ways):
            x = [each.number for each in windows]
            y = [made.mean(way, each.number) for each in windows]
            axes[0].plot(x, y, color=COLOURS[number], marker=MARKERS[number],
                         linestyle=DASHES[number], label=way)  # fmt: skip
            ends = [made.interval(way, each.number) or (math.nan, math.nan) for each in windows]
            axes[0].fill_between(x, *zip(*ends, strict=True), color=COLOURS[number], alpha=0.12,
                                 linewidth=0)  # fmt: skip
        days = [each.start[:10] for each in windows]
        if len({*days}) < len(days):
            days = [each.start[:16].replace("T", " ") for each in windows]
        axes[0].set(ylabel=made.figure, xlabel="window from")
        axes[0].set_xticks([each.number for each in windows], days)
        axes[0].tick_params(axis="x", rotation=30)
        axes[0].legend(title="refreshed", frameon=False)
        if ages:
            low = [each.difference - each.low for each in ages]
            high = [each.high - each.difference for each in ages]
            axes[1].axhline(0, color="grey", linewidth=0.8)
            axes[1].errorbar([each.age for each in ages], [each.difference for each in ages],
                             [low, high], color=COLOURS[0], marker="o", capsize=2)  # fmt: skip
            axes[1].set(xlabel="windows since training", ylabel=f"{made.figure}, old minus new",
                        xticks=[each.age for each in ages])  # fmt: skip
        return save(figure, folder, "backtest")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
