"""``lightning-rec reproduce PAPER[/ROW]``: runs of a published table, and its verdicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec.commands.compare import sources
from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.papers import Asked, asked_rows, list_papers
from lightning_rec.commands.repeating import quick, row_overrides, train_or_resume
from lightning_rec.commands.tracked import Tracked, loggers, with_csv
from lightning_rec.commands.usage import config_folders
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.files import write_json, write_text
from lightning_rec.lab.papers import NAME, RESULTS
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
epochs of each recorded curve and compares them, or, where there is none, the
whole training if that took at most 120 s of a processor; it ends with 1 if a
figure is not what it was, or if nothing could be compared. --missing says what
would be trained. --from writes a paper.yaml, to be edited, of runs that there are. Run
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
        return quick(asked, config_dirs)
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
    from lightning_rec.lab.records import record, sealed

    for paper in {paper.folder: paper for paper, _, _ in asked}.values():
        paper.results  # noqa: B018  what is falsified is told before anything is trained
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
                overrides = [*row_overrides(paper, row, seed, logger), *more]
                tracked = Tracked(paper.name, f"{row} seed={seed}", [paper.name, row])
                train_or_resume(overrides, folder, config_dirs, tracked=tracked)
            except UserError as error:
                failed.append(f"{paper.name}/{row} seed={seed}: {error}")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            made = {"row": row, "config": list(paper.rows[row].config), **record(folder)}
            write_json(target, sealed(made))
    lost = []
    for paper in {paper.folder: paper for paper, _, _ in asked}.values():
        fresh = type(paper).load(paper.folder)
        lost += (of_paper := fresh.lost())
        if not fresh.results:
            continue
        for path, content in fresh.files().items():
            if not (of_paper and path.name == RESULTS):  # what passed is remembered
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


def _begin(folder: Path, runs: list[str]) -> int:
    """Write the skeleton of a paper of runs that there are."""
    import re

    import yaml

    from lightning_rec.figures import parse
    from lightning_rec.lab import read_runs
    from lightning_rec.lab.records import record, sealed
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
        apart = ("seed", "run_dir", "name", "logger", "tracking")
        config = [each for each in run["overrides"] if key_of(each).split(".")[0] not in apart]
        while rows.get(row, {"config": config})["config"] != config:
            row += "_"  # names may become equal
        said = {"title": run["setting"], "data": run["data"], "config": config, "published": {}}
        rows.setdefault(row, said | {"seeds": had[run["setting"]]})
        if not Path(run["run"]).is_dir():
            raise UserError(f"{run['run']} is no run folder, of which a record is made.")
        target = folder / "runs" / f"{row}_seed{run['seed']}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        made = {"row": row, "config": config, **record(Path(run["run"]))}
        write_json(target, sealed(made))
    shown = [str(parse(name)._replace(stage="test")) for name in monitors]
    paper: dict[str, Any] = {"citation": "Authors, title, venue", "protocol": "", "figures": shown}
    paper["rows"] = rows
    write_text(folder / NAME, yaml.safe_dump(paper, sort_keys=False, allow_unicode=True))
    print(
        f"{folder / NAME} is written: add what was published, then lightning-rec reproduce {folder}"
    )
    return 0
