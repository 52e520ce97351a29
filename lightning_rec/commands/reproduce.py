"""``lightning-rec reproduce PAPER[/ROW]``: runs of a published table, and its verdicts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec.commands.compare import sources
from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.papers import Asked, asked_rows, list_papers
from lightning_rec.commands.tracked import Tracked, loggers, with_csv
from lightning_rec.commands.usage import config_folders
from lightning_rec.config import as_override, compose
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.files import write_json, write_text
from lightning_rec.lab.papers import NAME, RESULTS, Paper
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
Repeat a published table: train what is missing, go on with what was cut, record
one JSON a run, and print and write the table with a verdict for each figure.

usage: lightning-rec reproduce PAPER[/ROW] ... [seeds=1,2,3] [runs=FOLDER]
                               [budget=quick|full|gpu] [logger=NAME] [--missing]
                               [--config-dir FOLDER]
       lightning-rec reproduce --list
       lightning-rec reproduce FOLDER --from [TITLE=]RUN|SWEEP ...

PAPER is a folder with a paper.yaml, or the name of one in experiments/. It ends
with 1 if a figure that passed does no longer. budget=quick repeats the first
epochs of each recorded curve and compares them; --missing says what would be
trained. --from writes a paper.yaml, to be edited, of runs that there are. Run
folders go to runs=, runs/reproduce if nothing is said. logger=wandb or mlflow
tells the tracker of each run, tagged by paper and row, and of the table.

Examples:
  lightning-rec reproduce --list
  lightning-rec reproduce klenitskiy2023/sasrec_bce_ml1m seeds=1,2
  lightning-rec reproduce my_paper --from runs/sweep
"""
BUDGETS = ("quick", "full", "gpu")
_FLAGS = ("--list", "--missing", "--from")


def run(arguments: list[str]) -> int:
    """Repeat, list or begin papers; 1 if a figure is not what it was. Raises UserError."""
    config_dirs, arguments = config_folders(arguments)
    said, arguments = take_keys(arguments, "seeds", "budget", "runs", "logger")
    flags = [each for each in arguments if each.startswith("-")]
    if unknown := [flag for flag in flags if flag not in _FLAGS]:
        raise UserError(f"There is no {unknown[0]}.{nearest(unknown[0], _FLAGS)}")
    budget = said.get("budget", "full")
    if budget not in BUDGETS:
        raise UserError(f"budget={budget}: it is one of {listed(BUDGETS)}.")
    named = [each for each in arguments if not each.startswith("-")]
    if "--list" in flags:
        return list_papers(named)
    if not named:
        raise UserError("Say which paper: lightning-rec reproduce PAPER, or --list.")
    if "--from" in flags:
        return _begin(Path(named[0]), named[1:])
    asked = asked_rows(named, said.get("seeds", ""), config_dirs)
    if "--missing" in flags:
        return _missing(asked)
    if budget == "quick":
        return max(_quick(paper, row, seeds, config_dirs) for paper, row, seeds in asked)
    more = ["trainer.accelerator=gpu"] if budget == "gpu" else []  # the row's own precision
    runs, logger = Path(said.get("runs", "runs/reproduce")), said.get("logger", "")
    return _full(asked, runs, more, logger, config_dirs)


def _missing(asked: Asked) -> int:
    for paper, row, seeds in asked:
        for seed in seeds:
            if not paper.path(row, seed).is_file():
                config = " ".join(paper.rows[row].config)
                print(f"{paper.name}/{row} seed={seed}: lightning-rec train {config} seed={seed}")
    return 0


def _full(
    asked: Asked, runs: Path, more: list[str], logger: str, config_dirs: Sequence[Path]
) -> int:
    """Train what has no record, write the tables of all papers, and say what was lost."""
    from lightning_rec.lab.reading import record

    nodes = loggers([with_csv(logger)]) if logger else {}
    console, failed = Screen(), list[str]()
    for paper, row, seeds in asked:
        for seed in seeds:
            target = paper.path(row, seed)
            if target.is_file():
                continue
            folder = runs / paper.name / f"{row}_seed{seed}"
            console.print(f"{paper.name}/{row} seed={seed}: {folder}", highlight=False)
            try:
                overrides = [*_overrides(paper, row, seed, logger), *more]
                tracked = Tracked(paper.name, f"{row} seed={seed}", [paper.name, row])
                train_or_resume(overrides, folder, config_dirs, tracked=tracked)
            except UserError as error:
                failed.append(f"{paper.name}/{row} seed={seed}: {error}")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            made = {"row": row, "config": list(paper.rows[row].config), **record(folder)}
            write_json(target, made)
    lost = []
    for paper in {paper.folder: paper for paper, _, _ in asked}.values():
        fresh = type(paper).load(paper.folder)
        lost += fresh.lost()
        if not fresh.results:
            continue
        for path, content in fresh.files().items():
            if not (lost and path.name == RESULTS):  # what passed is remembered
                write_text(path, content)
        table = fresh.table()
        columns = [*text(*table.header[:2]), *figures(*table.header[2:-1]), *text(table.header[-1])]
        shown = FittedTable(fresh.citation, columns)
        for line in table.rows:
            shown.add_row(*line)
        console.print(shown)
        if nodes:
            from lightning_rec.reports.dashboard import tell_paper  # imports torch

            tell_paper(fresh, runs / paper.name, nodes)
        console.print(f"Written to {fresh.folder.absolute()}", highlight=False, soft_wrap=True)
    for sentence in (*failed, *lost):
        console.print(f"{sentence.rstrip('.')}.", highlight=False, soft_wrap=True)
    return int(bool(failed or lost))


def _quick(paper: Paper, row: str, seeds: list[int], config_dirs: Sequence[Path]) -> int:
    """Repeat the first epochs of recorded curves; 1 if they are others."""
    from pytorch_lightning import Callback

    from lightning_rec.documents import read_json
    from lightning_rec.lab.reading import record

    console, status = Screen(), 0
    for seed in seeds:
        path = paper.path(row, seed)
        recorded = read_json(path) if path.is_file() else {}
        what = f"{paper.name}/{row} seed={seed}"
        if not recorded.get("curve"):
            console.print(f"{what}: no curve is recorded.", highlight=False)
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            stop = _stop(paper.rows[row].config, paper.quick_epochs, config_dirs)
            overrides = [*_overrides(paper, row, seed), *stop]
            train_or_resume(overrides, run, config_dirs, watch=Callback())
            curve = record(run)["curve"]
        for epoch in [each for each in curve if each in recorded["curve"]]:
            then, now = recorded["curve"][epoch], curve[epoch]
            near = abs(now - then) <= paper.quick_tolerance * abs(then)
            status = max(status, int(not near))
            told = f"{recorded['monitor']} {then} recorded, {now} now"
            console.print(
                f"{what}: epoch {epoch}: {told}{'' if near else ': NOT WHAT IT WAS'}",
                highlight=False,
            )
    return status


def _overrides(paper: Paper, row: str, seed: int, logger: str = "") -> list[str]:
    return [*paper.rows[row].config, f"seed={seed}", with_csv(logger)]


def _stop(config: Sequence[str], epochs: int, config_dirs: Sequence[Path]) -> list[str]:
    """Stop after some epochs, with the schedule of the whole training."""
    reached = "1.0e30" if compose(config, config_dirs).monitor_mode == "min" else "-1.0e30"
    key = "callbacks.early_stopping.stopping_threshold"
    return [f"+{key}={reached}", f"trainer.min_epochs={epochs}"]


def train_or_resume(
    overrides: list[str],
    folder: Path,
    config_dirs: Sequence[Path] = (),
    watch: Any = None,
    tracked: Tracked | None = None,
) -> None:
    """Train a run, go on with one that was cut, or do nothing if it is completed.

    Raises UserError if the run that lies there was made with other settings.
    """
    with loading():
        from lightning_rec.commands.train import frozen
        from lightning_rec.config import plain
        from lightning_rec.runs.folder import RunFolder
        from lightning_rec.runs.sweeps import settings_hash
        from lightning_rec.training import resume, train

    overrides = [*overrides, f"run_dir={as_override(str(folder))}"]
    composed = compose(overrides, config_dirs)
    if tracked is not None:
        tracked.mark(composed, overrides)
    cfg = frozen(composed)
    if not (folder / "run.json").is_file():
        train(cfg, folder, overrides, watch)
        return
    run = RunFolder.open(folder)
    if settings_hash(plain(run.config)) != settings_hash(plain(cfg)):
        raise UserError(
            f"{folder} holds a run with other settings: remove it, or choose another folder."
        )
    if run.card.get("status") != "completed":
        resume(folder, [], watch)


def _begin(folder: Path, runs: list[str]) -> int:
    """Write the skeleton of a paper of runs that there are."""
    import re

    import yaml

    from lightning_rec.figures import parse
    from lightning_rec.lab import read_runs
    from lightning_rec.lab.reading import record
    from lightning_rec.runs.sweeps import key_of

    if not runs:
        raise UserError("Say of which runs: lightning-rec reproduce FOLDER --from RUN|SWEEP ...")
    if (folder / NAME).exists():
        raise UserError(f"{folder / NAME} exists already: name another folder.")
    found = read_runs(*sources(runs))
    rows: dict[str, Any] = {}
    had = dict(found.group_by("setting").len().iter_rows())
    monitors = dict.fromkeys(found["monitor"].to_list())
    for run in found.iter_rows(named=True):
        row = re.sub(r"[^\w.-]+", "_", run["setting"]).strip("_.-") or "row"
        config = [
            each for each in run["overrides"] if key_of(each) not in ("seed", "run_dir", "logger")
        ]
        while rows.get(row, {"config": config})["config"] != config:
            row += "_"  # names may become equal
        said = {"title": run["setting"], "data": run["data"], "config": config, "published": {}}
        rows.setdefault(row, said | {"seeds": had[run["setting"]]})
        if not Path(run["run"]).is_dir():
            raise UserError(f"{run['run']} is no run folder, of which a record is made.")
        target = folder / "runs" / f"{row}_seed{run['seed']}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, {"row": row, "config": config, **record(Path(run["run"]))})
    shown = [str(parse(name)._replace(stage="test")) for name in monitors]
    paper: dict[str, Any] = {"citation": "Authors, title, venue", "protocol": "", "figures": shown}
    paper["rows"] = rows
    write_text(folder / NAME, yaml.safe_dump(paper, sort_keys=False, allow_unicode=True))
    print(
        f"{folder / NAME} is written: add what was published, then lightning-rec reproduce {folder}"
    )
    return 0
