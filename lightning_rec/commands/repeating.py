"""Runs of a paper's rows: trained, gone on with, or repeated in part and compared."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_rec.commands.loading import loading
from lightning_rec.commands.papers import Asked, is_deterministic
from lightning_rec.commands.tracked import Tracked, with_csv
from lightning_rec.config import as_override, compose
from lightning_rec.errors import UserError
from lightning_rec.lab.papers import Paper
from lightning_rec.lab.records import read_record, record
from lightning_rec.screen import Screen

WHOLE = 120  # seconds of a processor that a training may have taken to be repeated whole
FITTED_TOLERANCE = 0.01  # of a model without chance; another processor may break ties otherwise


class _Compared(NamedTuple):
    """A figure that was recorded, what it is now, and whether that is near enough."""

    name: str
    then: float
    now: float | None
    near: bool

    def __str__(self) -> str:
        told = f"{self.name} {self.then} recorded, {self.now} now"
        return told if self.near else f"{told}: NOT WHAT IT WAS"


def quick(asked: Asked, config_dirs: Sequence[Path]) -> int:
    """Repeat rows in part, and print how they compare with what is recorded.

    1 if a figure is not what it was, or if nothing could be compared. Raises UserError if a record
    is not as it was written, or is of another config.
    """
    console, compared, left_out = Screen(), list[_Compared](), 0
    for paper, row, seeds in asked:
        paper.runs(row)  # which checks them
        for seed in seeds:
            what, path = f"{paper.name}/{row} seed={seed}", paper.path(row, seed)
            known = read_record(path) if path.is_file() else {}
            if why := _unchecked(known):
                console.print(f"{what}: not checked: {why}.", highlight=False, soft_wrap=True)
                left_out += 1
                continue
            for each in _again(paper, row, seed, known, config_dirs):
                compared.append(each)
                console.print(f"{what}: {each}", highlight=False, soft_wrap=True)
    differing = sum(not each.near for each in compared)
    told = f"{len(compared)} figures compared, {differing} of them not what they were"
    told += f"; {left_out} {'run' if left_out == 1 else 'runs'} not checked" if left_out else ""
    console.print(f"{told}.", highlight=False, soft_wrap=True)
    return int(differing > 0 or not compared)


def _unchecked(known: dict[str, Any]) -> str:
    """Why a record cannot be compared quickly; nothing if it can."""
    if not known:
        return "there is no record of it"
    seconds = known.get("cpu_seconds")
    if known.get("curve") or (seconds is not None and seconds <= WHOLE and _on_cpu(known)):
        return ""
    took = f"took {seconds:,.0f} s of a processor" if _on_cpu(known) and seconds else ""
    took = took or ("was on a GPU" if seconds else "took a time that is not recorded")
    return f"no curve is recorded, and its training {took}; up to {WHOLE} s it is repeated whole"


def _on_cpu(known: dict[str, Any]) -> bool:
    return not known.get("gpu_seconds")


def _again(
    paper: Paper, row: str, seed: int, known: dict[str, Any], config_dirs: Sequence[Path]
) -> Iterator[_Compared]:
    """The first epochs of a run beside its curve, or its figures beside those of a whole training.

    A curve without any of these epochs counts as differing.
    """
    from pytorch_lightning import Callback

    overrides, curve = row_overrides(paper, row, seed), known.get("curve")
    config, share = paper.rows[row].config, paper.quick_tolerance
    if curve:
        overrides += _stop(config, paper.quick_epochs, config_dirs)
    elif is_deterministic(config, config_dirs):
        share = min(share, FITTED_TOLERANCE)
    with tempfile.TemporaryDirectory() as folder:
        train_or_resume(overrides, run := Path(folder) / "run", config_dirs, watch=Callback())
        made = record(run)
    if curve:
        then = {f"epoch {each}: {known['monitor']}": curve[each] for each in curve}
        now = {f"epoch {each}: {known['monitor']}": made["curve"][each] for each in made["curve"]}
        names = [name for name in then if name in now] or [*then][:1]
    else:
        then, now = known["metrics"], made["metrics"]
        monitors = [known["monitor"]] if known.get("monitor") in then else []
        names = [*dict.fromkeys((*paper.figures, *monitors))]
    for name in names:
        value = now.get(name)
        near = value is not None and abs(value - then[name]) <= share * abs(then[name])
        yield _Compared(name, then[name], value, near)


def row_overrides(paper: Paper, row: str, seed: int, logger: str = "") -> list[str]:
    """What trains a row; with the CSV that its curve is read of."""
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
