"""Papers that ``lightning-rec reproduce`` is asked for: where they are, their rows and seeds."""

from collections.abc import Sequence
from pathlib import Path

from lightning_rec.commands.sets import numbers
from lightning_rec.config import compose, config_dir, plain
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.lab.papers import NAME, Paper, papers
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

Asked = list[tuple[Paper, str, list[int]]]


def asked_rows(named: list[str], seeds: str, config_dirs: Sequence[Path] = ()) -> Asked:
    """The rows that are named, with their seeds; one of a row that no seed changes.

    Raises UserError if the paper wants several of such a row.
    """
    asked: Asked = []
    for name in named:
        folder, row = _find(name)
        paper = Paper.load(folder)
        for each in [row] if row else paper.rows:
            wanted = numbers("seeds", seeds) or paper.wanted(each)
            if len(wanted) > 1 and is_deterministic(paper.rows[each].config, config_dirs):
                if not seeds:
                    where = f"{paper.folder / NAME}: rows.{each}"
                    raise UserError(f"{where}: no seed changes this model: write 'seeds: 1'.")
                wanted = wanted[:1]
            asked.append((paper, each, wanted))
    return asked


def is_deterministic(config: Sequence[str], config_dirs: Sequence[Path]) -> bool:
    """Whether all seeds give the same model."""
    from lightning_rec.runs.sweeps import without_effect

    return "seed" in without_effect(plain(compose(config, config_dirs)))


def _find(name: str) -> tuple[Path, str | None]:
    """The folder of a paper, and the row, that ``PAPER``, ``PAPER/ROW`` or a path names.

    Raises UserError with what there is.
    """
    for base in (Path(name), _home() / name):
        if (base / NAME).is_file():
            return base, None
        if (base.parent / NAME).is_file():
            rows = Paper.load(base.parent).rows
            if base.name not in rows:
                hint = nearest(base.name, rows)
                raise UserError(f"{base.parent} has no row {base.name}.{hint} {listed(rows)}.")
            return base.parent, base.name
    known = [path.name for path in papers(_home())]
    raise UserError(
        f"There is no paper '{name}': name a folder with a {NAME}, or one of experiments/"
        f"{': ' + listed(known) if known else ''}.{nearest(name, known)}"
    )


def _home() -> Path:
    """Where papers are looked for: ``experiments`` here, else that of the clone we run from."""
    homes = (Path("experiments"), config_dir().parent / "experiments")
    return next((home for home in homes if papers(home)), homes[0])


def list_papers(roots: list[str]) -> int:
    """Every paper and its rows: seeds that there are, and verdicts; 1 if one cannot be read."""
    found = [path for root in roots or [str(_home())] for path in papers(Path(root))]
    if not found:
        raise UserError("No paper is below experiments/: name a folder of papers, --list FOLDER.")
    broken = 0
    for folder in found:
        try:
            _list_paper(Paper.load(folder))
        except UserError as error:
            Screen().print(f"{error}", highlight=False, soft_wrap=True)
            broken = 1
    return broken


def _list_paper(paper: Paper) -> None:
    shown = FittedTable(
        f"{paper.name}: {paper.citation}", [*text("row"), *figures("seeds"), *text("verdicts")]
    )
    results = {result.name: result for result in paper.results}
    for name in paper.rows:
        result, goal = results.get(name), len(paper.wanted(name))
        told = result.verdicts if result else {}
        verdicts = ", ".join(f"{figure} {verdict}" for figure, verdict in told.items())
        shown.add_row(name, f"{result.runs.height if result else 0} of {goal}", verdicts)
    Screen().print(shown)
