"""``lightning-rec verify``: whether runs, and the records of papers, are what they say."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.bundle.manifest import MANIFEST, read
from lightning_rec.commands.evaluate import compared
from lightning_rec.commands.loading import loading
from lightning_rec.commands.usage import config_folders
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.lab.papers import Paper, papers
from lightning_rec.lab.reading import best_of, searches_at
from lightning_rec.lab.records import HASH
from lightning_rec.screen import Screen

if TYPE_CHECKING:
    import polars as pl

HELP = """\
Check runs: every file against its hash, data, catalogue and protocol against
the card, and each figure, computed again from weights and data, against the one
that was recorded; of bundles every file. Exit 1 if something is not as it says.

usage: lightning-rec verify RUN|SWEEP|SEARCH|BUNDLE ...
       lightning-rec verify --all FOLDER [--config-dir FOLDER]

--all checks the papers below FOLDER: whether each record is as it was written,
tables and results are those of the records, and each record is of the data and
the protocol that its config makes here. Data that is not on this machine is said.

Examples:
  lightning-rec verify runs/sasrec
  lightning-rec verify runs/sweep
  lightning-rec verify --all experiments
"""


def run(arguments: list[str]) -> int:
    """Check what is named; 1 if something is not as it says. Raises UserError on bad input."""
    config_dirs, arguments = config_folders(arguments)
    named = [each for each in arguments if each != "--all"]
    if not named or any(each.startswith("-") for each in named):
        raise UserError("Say what is checked: lightning-rec verify RUN|SWEEP ..., or --all FOLDER")
    console, faults, number = Screen(), 0, 0
    check = partial(_papers, config_dirs=config_dirs) if "--all" in arguments else _runs
    for path in map(Path, named):
        for what, told, fine in check(path):
            faults, number = faults + (not fine), number + 1
            line = f"{'ok  ' if fine else 'NO  '}{what}: {told}"
            console.print(line, highlight=False, soft_wrap=True)
    failed = f"{faults:,} of {number:,} checks failed: see the lines that begin with NO."
    console.print(failed if faults else "All is as it says.")
    return int(faults > 0)


Told = Iterator[tuple[str, str, bool]]


def _runs(path: Path) -> Told:
    """A bundle; a run folder, every one in a folder, or those of a search's best trial."""
    if (path / MANIFEST).is_file():
        try:
            made = read(path)
        except UserError as error:
            yield str(path), str(error), False
        else:
            yield str(path), f"a bundle; {len(made.files)} files are as they were written", True
        return
    if (path / "run.json").is_file():
        folders = [path]
    else:
        sweeps = [best_of(each) for each in searches_at(path)] or [path]
        folders = sorted(card.parent for sweep in sweeps for card in sweep.glob("*/run.json"))
    if not folders:
        raise UserError(f"{path} is no run folder, and holds none.")
    with loading():
        from lightning_rec.runs import checksums
        from lightning_rec.training import evaluate
    for folder in folders:
        if not (folder / checksums.NAME).is_file():
            told = f"{checksums.NAME} is missing: nobody can tell whether its files are as written"
            yield str(folder), told, False
            continue
        try:
            found, figures = evaluate(folder, [])
            recorded = found.metrics
        except UserError as error:
            yield str(folder), str(error), False
            continue
        again, differing = compared(recorded, figures)
        if differing or not again:
            told = f"{len(differing)} of {len(again)} figures differ: {listed(differing, 4) or '-'}"
            yield str(folder), told, False
        else:
            yield str(folder), f"{len(again)} figures are equal to the last bit", True


def _papers(root: Path, config_dirs: Sequence[Path]) -> Told:
    """Every paper below a folder, or the one that it is."""
    folders = papers(root) or papers(root.parent)
    folders = [folder for folder in folders if folder == root or folder.parent == root]
    if not folders:
        raise UserError(f"No paper lies below {root}: a paper is a folder with a paper.yaml.")
    for folder in folders:
        try:
            yield from _paper(Paper.load(folder), config_dirs)
        except UserError as error:  # a record that was changed among them
            yield folder.resolve().name, str(error), False


def _paper(paper: Paper, config_dirs: Sequence[Path]) -> Told:
    stale = [
        path.name
        for path, text in (paper.files() if paper.results else {}).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    told = "tables are of the records"
    if stale:
        there = any((paper.folder / name).is_file() for name in stale)
        told = f"made of other records: {listed(stale)}"
        told = told if there else f"no tables yet: lightning-rec reproduce {paper.folder}"
    yield paper.name, told, not stale
    for sentence in paper.lost():
        yield paper.name, sentence, False
    paths = [Path(run) for result in paper.results for run in result.runs["run"]]
    if without := [path.name for path in paths if HASH not in read_json(path)]:
        told = f"records of earlier versions, which have no {HASH}: {listed(without, 4)}"
        yield paper.name, told, True
    for row in paper.rows:
        if (runs := paper.runs(row)).height:
            yield f"{paper.name}/{row}", *_record(paper, row, runs, config_dirs)


def _record(
    paper: Paper, row: str, runs: "pl.DataFrame", config_dirs: Sequence[Path]
) -> tuple[str, bool]:
    """Whether the runs of a row are of the data and protocol that its config makes here."""
    with loading():
        from lightning_rec.build import problem_of
        from lightning_rec.build.trainer import recorded_hash
        from lightning_rec.config import compose
        from lightning_rec.data.fetch import cache_dir

    paths = [Path(run) for run in runs["run"]]
    try:
        problem = problem_of(compose(paper.rows[row].config, config_dirs))
        loaded: Any = problem.load(cache_dir())
    except UserError as error:
        return f"not checked, {error}", "not on this machine" in str(error)
    pure = problem.protocol.hash(loaded.counts)
    for path in paths:
        record = read_json(path)
        now = {
            "data_hash": loaded.data_hash,
            "protocol_hash": recorded_hash(pure, record.get("partial")),
        }
        if record.get("catalogue_hash") and problem.reads_catalogue:
            now["catalogue_hash"] = problem.catalogue_hash(loaded)
        for name, value in now.items():
            if record.get(name) != value:
                found = str(record.get(name))[:12]
                return f"{path.name} has {name} {found}, which is {str(value)[:12]} here", False
    return f"of this data and this protocol, all records ({len(paths)})", True
