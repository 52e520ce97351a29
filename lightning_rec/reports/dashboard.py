"""What trackers are told of a whole sweep: its table, what is more than noise, and plots."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.figures import parse
from lightning_rec.lab import Comparison, compare
from lightning_rec.lab.papers import Paper
from lightning_rec.lab.reading import frame, job_number
from lightning_rec.runs.loggers import compared, sectioned
from lightning_rec.runs.summaries import FOLDER, Summary, tell, wanted
from lightning_rec.screen import Screen

log = logging.getLogger(__name__)


def tell_sweep(folder: Path, cfg: DictConfig) -> None:
    """Tell W&B and MLflow of the sweep whose ``sweep.json`` was just written, if ``cfg`` logs to
    them; errors are logged.
    """
    try:
        if nodes := _loggers(cfg):
            with Screen(stderr=True).status("telling the trackers of the sweep"):
                tell(folder, nodes, of_sweep(folder))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("The trackers have no summary of %s. %s", folder, reason)


def _loggers(cfg: DictConfig) -> dict[str, Any]:
    """The loggers of a sweep's own config; group and tags are those of its jobs."""
    cfg = cfg.copy()
    OmegaConf.set_readonly(cfg, False)
    # What they say by default, the choices of each group, Hydra knows of a single job alone.
    for key, value in (("group", None), ("tags", []), ("name", None)):
        cfg.tracking[key] = value
    return wanted(config.plain(cfg.get("logger")))


def of_sweep(folder: Path) -> Summary:
    """What ``sweep.json`` in ``folder`` says, and the comparison of its completed runs.

    Each setting is compared with the one that is best by validation. Jobs of other data, of another
    protocol or with another monitored figure are compared among themselves.
    """
    told = read_json(folder / "sweep.json")
    done = [job for job in told["jobs"] if job["status"] == "completed"]
    pictures, verdicts = dict[str, Path](), list[dict[str, Any]]()
    for number, entry in enumerate(told["tables"]):
        name = f" {number + 1}" if len(told["tables"]) > 1 else ""
        key = [entry["data and protocol"], entry["monitor"]]
        members = [job for job in done if [job["comparable"], job["monitors"][0]] == key]
        made = _compared(folder, members, [row["setting"] for row in entry["rows"]])
        if made is not None:
            verdicts += _verdicts(made)
            drawn = _draw(made, folder / FOLDER / "plots" / str(number))
            pictures |= {f"{path.stem}{name}": path for path in drawn}
    tables = {"settings": settings_table(told["tables"])}
    if verdicts:
        tables["verdicts"] = pl.DataFrame(verdicts)
    facts: dict[str, str | int] = {"jobs": len(told["jobs"]), "completed": len(done)}
    facts["failed"] = sum(job["status"] == "failed" for job in told["jobs"])
    for entry in told["tables"][:1] if done else ():
        facts["best setting"] = entry["rows"][0]["setting"]
    runs = [folder / job["folder"] for job in told["jobs"] if "monitors" in job]
    group, tags = _belonging(runs, folder.name)
    return Summary(group, group, tags, tables, pictures, facts, runs)


def tell_paper(paper: Paper, folder: Path, nodes: Mapping[str, Any]) -> None:
    """Tell the trackers of ``nodes`` of a published table, whose runs are in ``folder``."""
    found = paper.frame()
    verdicts = found["verdict"].value_counts().iter_rows()
    facts: dict[str, str | int] = {"citation": paper.citation}
    facts |= {f"figures {verdict}": count for verdict, count in verdicts if verdict}
    runs = [card.parent for card in sorted(folder.glob("*/run.json"))]
    tell(folder, nodes, Summary(paper.name, paper.name, [paper.name], {"rows": found}, {},
                                facts, runs))  # fmt: skip


def tell_search(
    study: Any, folder: Path, name: str, objectives: Sequence[str], nodes: Mapping[str, Any]
) -> None:
    """Tell the trackers of ``nodes`` of the trials of a search, a line each."""
    trials = study.get_trials(deepcopy=False)
    lines = [
        {"trial": trial.number, "state": trial.state.name.lower()}
        | dict(zip(objectives, trial.values or [None] * len(objectives), strict=True))
        | {"cpu_seconds": trial.user_attrs.get("cpu_seconds")}
        | trial.params
        for trial in trials
    ]
    facts: dict[str, str | int] = {"trials": len(trials)}
    facts["completed"] = sum(line["state"] == "complete" for line in lines)
    runs = [card.parent for card in sorted(folder.glob("trials/*/run.json"), key=job_number)]
    told = Summary(name, name, [f"search:{name}"[:64]], {"trials": frame(lines)}, {}, facts, runs)
    tell(folder, nodes, told)


def settings_table(tables: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A line per setting: jobs, and of each figure and cost its mean and sd.

    What is monitored comes first, then the same of the test, costs, and the other figures.
    """
    lines = list[dict[str, Any]]()
    for entry in tables:
        monitor = parse(entry["monitor"])
        first = [str(monitor), str(monitor._replace(stage="test"))]
        for row in entry["rows"]:
            line = {key: row[key] for key in ("setting", "jobs", "failed", "open")}
            names = compared(sectioned(dict.fromkeys(row["figures"], 0.0)))
            shown = {name: row["figures"][name] for name in names}
            known = {name: shown[name] for name in first if name in shown}
            for name, spread in (known | row["costs"] | shown).items():
                line |= {name: spread["mean"], f"{name} sd": spread["sd"]}
            about = {"monitor": entry["monitor"], "data and protocol": entry["data and protocol"]}
            lines.append(line | about)
    return frame(lines)


def _compared(
    folder: Path, jobs: Sequence[Mapping[str, Any]], settings: Iterable[str]
) -> Comparison | None:
    """The jobs side by side; None where they cannot be compared, or there are none."""
    titled = {
        setting: [folder / job["folder"] for job in jobs if job["setting"] == setting]
        for setting in settings
    }
    titled = {setting: runs for setting, runs in titled.items() if runs}
    try:
        return compare(titled) if titled else None
    except UserError as error:
        log.warning("The trackers have no verdicts of %s. %s", folder, error)
        return None


def _verdicts(made: Comparison) -> list[dict[str, Any]]:
    """A line for each difference: numbers, and a sentence."""
    columns = ("setting", "figure", "difference", "low", "high", "holm")
    lines = made.paired.select(columns).to_dicts()
    return [
        line | {"baseline": made.baseline, "verdict": sentence}
        for line, sentence in zip(lines, made.verdicts(), strict=True)
    ]


def _draw(made: Comparison, folder: Path) -> list[Path]:
    """Plots of a comparison as PNG; none without matplotlib (the extra ``plots``)."""
    if find_spec("matplotlib") is None:
        log.info("No plot is drawn without matplotlib: pip install 'lightning-rec[plots]'.")
        return []
    from lightning_rec.reports.paper_plots import draw

    return [path for path in draw(made, folder) if path.suffix == ".png"]


def _belonging(runs: Sequence[Path], name: str) -> tuple[str, list[str]]:
    """The group that the runs of a sweep have at trackers, and the tags that all have."""
    known = [read_yaml(folder / "config.yaml").get("tracking") or {} for folder in runs]
    groups = [str(each["group"]) for each in known if each.get("group")]
    tags = [list(map(str, each.get("tags") or [])) for each in known]
    common = set.intersection(*map(set, tags)) if tags else set()
    return (groups or [name])[-1], [tag for tag in (tags or [[]])[0] if tag in common]
