"""Jobs that are not completed yet, as a section of the page that ``report --watch`` serves."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.figures import better
from lightning_rec.reports.charts import Chart, chart, colour, safe, symbol
from lightning_rec.reports.sections import Section
from lightning_rec.reports.tables import Cell, PageTable
from lightning_rec.runs.sweeps import effective, never_began, planned

_EPOCH = re.compile(r"lightning_rec\.epochs: epoch (\d+) of [^,]+, (.*)")
DRAWN = 20  # curves, of the jobs that come first


class Job(NamedTuple):
    """A run that is not completed.

    ``curve``: the monitored figure so far, by epoch from 1.  ``epochs``: that ended.  ``told``: its
    error, if it has one.
    """

    name: str
    status: str
    monitor: str
    curve: dict[int, float]
    epochs: int
    told: str


def of_jobs(paths: Sequence[Path]) -> Section | None:
    """What runs, was stopped, failed or has not begun in folders of runs; None if nothing is so."""
    jobs, waiting = open_jobs(paths), _waiting(paths)
    if not (jobs or waiting):
        return None
    counts = {
        each: sum(job.status == each for job in jobs) for each in (job.status for job in jobs)
    }
    told = [f"{number} {status}" for status, number in counts.items()]
    told += [f"{waiting} not begun"] if waiting else []
    text = f"Not completed yet: {', '.join(told)}."
    return Section("jobs", "Jobs that go on", [text], _table(jobs) if jobs else None,
                   charts=_charts(jobs), by_setting=False)  # fmt: skip


def open_jobs(paths: Sequence[Path]) -> list[Job]:
    """The runs at some paths, and up to three folders below, that are not completed."""
    found: dict[Path, dict[str, Any]] = {}
    for path in paths:
        for depth in ("", "*/", "*/*/", "*/*/*/"):
            for card in sorted(path.glob(f"{depth}run.json")):
                said = _read(card)
                if said.get("status") not in (None, "completed"):
                    found.setdefault(card.parent, said)
    overrides = {path: effective(card.get("overrides") or (), ()) for path, card in found.items()}
    beside = [job for path in paths for entry in planned(path) for job in entry["jobs"]]
    every = [set(each) for each in (*overrides.values(), *beside)]
    common = set.intersection(*every) if len(every) > 1 else set[str]()
    return [
        _job(path, card, " ".join(each for each in overrides[path] if each not in common))
        for path, card in found.items()
    ]


def _job(path: Path, card: dict[str, Any], differing: str) -> Job:
    name = f"{path.name}: {differing}" if differing else path.name
    try:
        monitor = str(read_yaml(path / "config.yaml")["monitor"])
        log = (path / "train.log").read_text(encoding="utf-8", errors="replace")
    except (UserError, OSError, KeyError, TypeError):  # it is being begun
        monitor = log = ""
    curve, epochs = dict[int, float](), 0
    for epoch, told in _EPOCH.findall(log):
        epochs = int(epoch)
        figures = dict(each.rpartition(" ")[::2] for each in told.split(", "))
        with suppress(KeyError, ValueError):
            curve[epochs] = float(figures[monitor])
    return Job(name, str(card["status"]), monitor, curve, epochs, str(card.get("error") or ""))


def _read(card: Path) -> dict[str, Any]:
    """A card; nothing where it cannot be read, since it is being written."""
    try:
        said = read_json(card)
    except (UserError, OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _waiting(paths: Sequence[Path]) -> int:
    """How many jobs of sweeps have not begun."""
    return sum(len(names) for path in paths for names in never_began(path).values())


def _table(jobs: Sequence[Job]) -> PageTable:
    """A row for each job: status, epochs, the latest figure, the best one."""
    rows = []
    for number, job in enumerate(jobs):
        values = [*job.curve.values()]
        best = (min if better(job.monitor) == "min" else max)(values) if values else None
        figures = [values[-1] if values else None, best]
        rows.append([
            Cell(job.name, job.name, number),
            Cell(f"{job.status}: {job.told}" if job.told else job.status, job.status),
            Cell(job.monitor, job.monitor),
            Cell(str(job.epochs or "-"), job.epochs),
            *(Cell("-" if each is None else f"{each:.4f}", each) for each in figures),
        ])  # fmt: skip
    return PageTable(["job", "status", "figure", "epochs", "latest", "best"], rows, text=3)


def _charts(jobs: Sequence[Job]) -> dict[str, Chart]:
    """The curves so far, a chart for each figure that is monitored."""
    charts = {}
    drawn = [(number, job) for number, job in enumerate(jobs[:DRAWN]) if job.curve]
    for monitor in dict.fromkeys(job.monitor for _, job in drawn):
        data = [
            {
                "type": "scatter", "mode": "lines+markers", "name": safe(job.name),
                "x": [*job.curve], "y": [*job.curve.values()],
                "line": {"color": colour(number), "width": 2},
                "marker": {"color": colour(number), "symbol": symbol(number), "size": 6},
            }
            for number, job in drawn
            if job.monitor == monitor
        ]  # fmt: skip
        charts[monitor] = chart(data, "epoch", safe(monitor))
    return charts
