"""The table at the end of a sweep: settings by figures, best first, mean ± sd over seeds."""

import shlex
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.figures import Name, declared, parse, parsed, titled
from lightning_rec.files import write_json
from lightning_rec.lab.columns import COSTS
from lightning_rec.lab.reading import job_number, name_settings
from lightning_rec.lab.statistics import Spread, spread
from lightning_rec.passwords import hidden
from lightning_rec.reports.progress import Progress, planned
from lightning_rec.runs import sweeps
from lightning_rec.runs.ending import Sweep
from lightning_rec.runs.launchers import launched, prepare, start
from lightning_rec.runs.signals import STOP
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

SHOWN_COSTS = {each.column.removeprefix("cost."): each for each in COSTS if each.heading}
SHOWN_AT = 10  # the cut-off of what is shown, where the monitored figure has none


class SweepSummary(Callback):
    """Tells of a sweep before, while and after it runs; exits 1 if a job failed."""

    progress: Progress | None = None  # in the process of the command alone

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra. Exits 2 if the sweep is refused, which its ``refusal`` explains."""
        self.since, sweep = time.time_ns(), STOP.sweep
        if not isinstance(sweep, Sweep):
            return
        from lightning_rec.runs.foreign import hide  # imports torch

        hide(config)
        jobs, swept = planned(config)
        how = launched(config.hydra, len(jobs))
        self.progress = Progress(folder := Path(config.hydra.sweep.dir), jobs, swept, how)
        try:
            prepare(config.hydra, how)
            sweep.begin(folder, how)
            self.progress.begin(check_memory=sweep.check_memory)
            sweeps.plan(folder, hidden(jobs), hidden(sweep.command))
            sweep.jobs, sweep.left = len(jobs), self.progress.left
            if start(config.hydra, how):
                sweep.hear()
        except UserError as refusal:
            sweep.refusal = refusal
            raise SystemExit(2) from refusal

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called by Hydra, in the process of the job."""
        if self.progress is not None and self.progress.how.here:
            self.progress.look()
            if isinstance(STOP.sweep, Sweep):
                STOP.sweep.left = self.progress.left

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra. What failed in an earlier sweep and was not tried again is left out."""
        folder, sweep = Path(config.hydra.sweep.dir), STOP.sweep
        if isinstance(sweep, Sweep) and self.progress is not None:
            self.progress.end()
            sweep.left, sweep.shown = self.progress.left, True

        def belongs(job: dict[str, Any]) -> bool:
            card = folder / job["folder"] / "run.json"
            return bool(job["status"] == "completed" or card.stat().st_mtime_ns >= self.since)

        from lightning_rec.reports.dashboard import tell_sweep  # imports torch

        jobs = show_sweep(folder, belongs)
        if isinstance(sweep, Sweep):
            tell_left(sweep)
        tell_sweep(folder, config)
        if any(job["status"] != "completed" for job in jobs):
            raise SystemExit(1)


def tell_left(sweep: Sweep) -> None:
    """Print how many jobs of a sweep that ended before it did are still to be done."""
    if sweep.left:
        Screen().print(f"{sweep.left} of {sweep.jobs} jobs are still to be done.")


def show_sweep(
    folder: Path, belongs: Callable[[dict[str, Any]], bool] = lambda job: True
) -> list[dict[str, Any]]:
    """Print the table of the jobs that belong, and write it to ``sweep.json``; the jobs."""
    jobs = [job for job in collect(folder) if belongs(job)]
    name_settings(jobs)
    tables: list[dict[str, Any]] = []
    for (hashes, monitor, mode), members in comparable(jobs).items():
        rows = summarise(members, monitor, mode)
        tables.append({"data and protocol": hashes, "monitor": monitor, "rows": rows})
    write_json(folder / "sweep.json", {"tables": tables, "jobs": jobs})
    console, metrics = Screen(), dict[str, Any]()
    for job in jobs:
        if job["metrics"]:
            metrics |= read_yaml(folder / job["folder"] / "config.yaml").get("metrics") or {}
    for entry in tables:
        console.print(
            table(entry["rows"], entry["monitor"], entry["data and protocol"], metrics or None)
        )
        if costs := costs_table(entry["rows"]):
            console.print(costs)
    told = [f"Sweep  {folder.absolute()}"]
    if any(folder.glob("*/wandb/offline-run-*")):
        runs = f"{shlex.quote(str(folder.absolute()))}/*/wandb/offline-run-*"
        told.append(f"W&B    offline; to sync it: wandb sync {runs}")
    console.print("\n".join(told), highlight=False, soft_wrap=True)
    for job in (job for job in jobs if job["status"] != "completed"):
        error = f": {job['error']}" if job["error"] else ""
        console.print(f"{job['status']}: {job['folder']}{error}", highlight=False)
    return jobs


def comparable(jobs: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Group jobs by data and protocol, and by the figure that each monitors, and its mode.

    What is monitored is taken from the jobs: a model may bring a task along, and with it another
    figure than the sweep's own config has. A job that failed before its data was read goes with
    the first group.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for job in sorted(jobs, key=lambda job: not job["comparable"]):
        key = (
            (job["comparable"], *job["monitors"]) if job["comparable"] else next(iter(groups), None)
        )
        groups.setdefault(key or ("nothing", "nothing", "max"), []).append(job)
    return groups


def collect(folder: Path) -> list[dict[str, Any]]:
    """Every run below ``folder``: its folder, status, overrides and figures."""
    return [_job(card.parent) for card in sorted(folder.glob("*/run.json"), key=job_number)]


def _job(folder: Path) -> dict[str, Any]:
    """One run; a broken folder counts as failed and costs the others nothing."""
    try:
        run = read_json(folder / "run.json")
        overrides = [str(each) for each in read_yaml(folder / "overrides.yaml")]
        metrics, cfg = folder / "metrics.json", read_yaml(folder / "config.yaml")
        return {
            "folder": folder.name,
            "status": run["status"],
            "error": run.get("error"),
            "comparable": _hashes(run),
            "monitors": [str(cfg["monitor"]), str(cfg["monitor_mode"])],
            "overrides": overrides,
            "with_effect": sweeps.with_effect(folder, overrides),
            "model": str(cfg["model"]["_target_"]).rpartition(".")[2],
            "metrics": read_json(metrics) if metrics.exists() else {},
            "cost": {n: v for n, v in (run | run.get("cost", {})).items() if n in SHOWN_COSTS},
        }
    except (UserError, ValueError, KeyError, TypeError) as error:
        empty: dict[str, Any] = {"comparable": None, "overrides": [], "metrics": {}, "cost": {}}
        return {"folder": folder.name, "status": "failed", "error": repr(error), **empty}


def _hashes(run: dict[str, Any]) -> str | None:
    """Name data and protocol with the beginnings of their hashes."""
    if "protocol_hash" not in run:
        return None
    hashes = (run[key][:8] for key in ("data_hash", "catalogue_hash") if run.get(key))
    data, protocol = f"{run['data']} {' '.join(hashes)}", run["protocol"]["name"]
    part = ", of a part of the data" if run.get("partial") else ""
    return f"{data}, {protocol} {run['protocol_hash'][:8]}{part}"


def summarise(jobs: list[dict[str, Any]], monitor: str, mode: str) -> list[dict[str, Any]]:
    """Group jobs that differ in nothing but the seed; best mean of ``monitor`` first.

    Returns a row per group: ``setting``, ``jobs`` (how many), ``failed`` and ``open`` (those that
    run or were cut), for each figure its ``mean`` and sample standard deviation ``sd`` (None for a
    single job), and likewise the costs: parameters that are trained, seconds per epoch, largest
    resident memory in MiB.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault(job["setting"], []).append(job)
    rows = []
    for setting, members in groups.items():
        done = [job for job in members if job["metrics"]]
        failed = sum(job["status"] == "failed" for job in members)
        row = {"setting": setting, "jobs": len(members), "failed": failed}
        row["open"] = len(members) - len(done) - failed
        spreads = {"figures": _spreads(done, "metrics"), "costs": _spreads(done, "cost")}
        rows.append(row | spreads)
    worst = float("-inf") if mode == "max" else float("inf")

    def merit(row: dict[str, Any]) -> float:
        return row["figures"].get(_called(monitor, row["figures"]), {}).get("mean", worst)

    return sorted(rows, key=merit, reverse=mode == "max")


def _called(name: str, known: Container[str]) -> str:
    """What a figure is called where it was measured: another name if on a part of the data."""
    partial = str(parse(name)._replace(partial=True))
    return partial if partial in known else name


def _spreads(jobs: list[dict[str, Any]], kind: str) -> dict[str, dict[str, float | None]]:
    names = sorted(set.intersection(*(set(job[kind]) for job in jobs))) if jobs else []
    spreads = {name: spread([job[kind][name] for job in jobs]) for name in names}
    return {name: {"mean": of.mean, "sd": of.sd} for name, of in spreads.items()}


def table(
    rows: list[dict[str, Any]],
    monitor: str,
    hashes: str,
    metrics: Mapping[str, Any] | None = None,
) -> FittedTable:
    """The rows as a terminal table; ``metrics`` are those of the configs, by key."""
    names = parsed({name: None for row in rows for name in row["figures"]})
    known, monitor = declared(metrics, names.values()), _called(monitor, names)
    position = {full: number for number, full in enumerate(known)}
    k = parse(monitor).k or SHOWN_AT

    def is_shown(name: Name) -> bool:
        whole = name.stage == "test" and not (name.model or name.slice or name.sampled)
        figure = known.get(name.figure)
        return whole and name.k in (None, k) and figure is not None and figure.shown == "summary"

    tested = sorted(
        (each for each in names.values() if is_shown(each)),
        key=lambda name: (name.goal, position[name.figure]),
    )
    columns = list(dict.fromkeys((monitor, *map(str, tested))))
    shown_names = [titled(parse(name), known) for name in columns]
    headings = [*text("setting"), *figures("seeds", *shown_names)]
    shown = FittedTable(f"Best {shown_names[0]} first, on {hashes}", headings, numbered=True)

    def cells(found: Mapping[str, Any], model: str = "") -> Iterator[str]:
        for name in columns:
            figure = found.get(f"{model}{name}", {"mean": None})
            yield "-" if figure["mean"] is None else str(Spread(figure["mean"], figure["sd"]))

    for row in rows:
        told = [f"{row[key]} {key}" for key in ("failed", "open") if row.get(key)]
        number = f"{row['jobs']}" + (f" ({', '.join(told)})" if told else "")
        shown.add_row(row["setting"], number, *cells(row["figures"]))
    for model in sorted({name.model for name in names.values()} - {""}):
        known_of = next(row["figures"] for row in rows if row["figures"])
        shown.add_row(f"{model}, the baseline", "", *cells(known_of, f"{model}/"))
    return shown


def costs_table(rows: list[dict[str, Any]]) -> FittedTable | None:
    """What each setting cost, in the same order, as a terminal table; None if nothing is known."""
    names = [name for name in SHOWN_COSTS if any(name in row["costs"] for row in rows)]
    if not names:
        return None
    title = "What it cost: parameters trained, seconds per epoch, peak memory"
    headings = [*text("setting"), *figures(*(SHOWN_COSTS[name].heading for name in names))]
    shown = FittedTable(title, headings, numbered=True)
    for row in rows:
        costs, digits = row["costs"], {name: SHOWN_COSTS[name].digits for name in names}
        cells = (f"{costs[n]['mean']:,.{digits[n]}f}" if n in costs else "-" for n in names)
        shown.add_row(row["setting"], *cells)
    return shown
